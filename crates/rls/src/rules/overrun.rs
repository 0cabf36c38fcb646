//! What happens to usage that does not fit into its bucket.
//!
//! A proxy can report the usage of a request after it: the tokens of a language model, or bytes. It
//! looks at the bucket before the request, with an explicit `hits_addend` of 0, and charges it
//! afterwards. The usage has happened by then, so the rule charges it past zero, and later looks
//! are denied until the refill has paid the debt. But the same field also carries the cost of a
//! request that has not happened yet. A denied request takes nothing, or a client that tries again
//! would never pass.
//!
//! A look tells the two apart, since only usage is looked at before it is charged. So a rule
//! remembers that it was looked at. Each replica remembers by itself, for as long as it has the
//! rule: one look of any client is enough, and looks come before the charges that need them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use sluice_config::rls;

/// How a rule treats usage that does not fit.
#[derive(Debug)]
pub(crate) struct Overrun {
    setting: rls::Overrun,
    was_looked_at: Arc<AtomicBool>,
}

/// Which rules were looked at, by their paths. It outlives a reload of the rules.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Two rules with the same path share their memory, which is harmless: it is only needed while
    /// a bucket lacks tokens.
    by_path: Mutex<HashMap<Box<str>, Arc<AtomicBool>>>,
}

impl Overrun {
    /// Remembers that the rule was asked with 0 hits.
    pub(crate) fn look(&self) {
        // Most rules are looked at all the time or never, and a store would take the cache line
        // from the other cores each time.
        if !self.was_looked_at() {
            self.was_looked_at.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether `hits`, which a descriptor names itself, are usage that is charged past
    /// zero.
    ///
    /// A rule that is configured for usage may also be asked with 1 before each request, so 1 is
    /// only usage if the rule was looked at.
    pub(crate) fn charges(&self, hits: u64) -> bool {
        match self.setting {
            rls::Overrun::None => false,
            rls::Overrun::Auto => hits > 0 && self.was_looked_at(),
            rls::Overrun::Debt => hits > 1 || (hits == 1 && self.was_looked_at()),
        }
    }

    fn was_looked_at(&self) -> bool {
        self.was_looked_at.load(Ordering::Relaxed)
    }
}

impl Looks {
    /// Returns the treatment by the rule at `path`.
    pub(crate) fn overrun(&self, path: &str, setting: rls::Overrun) -> Overrun {
        let was_looked_at = Arc::clone(self.by_path.lock().entry(path.into()).or_default());
        Overrun { setting, was_looked_at }
    }

    /// Forgets the rules that are gone.
    pub(crate) fn forget_unused(&self) {
        self.by_path.lock().retain(|_, was_looked_at| Arc::strong_count(was_looked_at) > 1);
    }
}
