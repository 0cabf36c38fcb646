//! Takes the tokens of one group after the other.

use std::sync::Arc;

use sluice_core::{Action, Check, Cost, Decision, Source};
use smallvec::SmallVec;
use tokio::runtime::Handle;

use super::group::{DecideGroup, Group, GroupFuture, GroupKey, doing_as};
use crate::{
    StoreError,
    join_all::{JoinAll, join_all},
};

/// A check whose groups are being taken. When it is dropped before its tokens are
/// [kept](Self::keep), a task gives them back, unless they are those of a hold.
pub(super) struct Taking<K: GroupKey, D: DecideGroup<K>> {
    decide: Arc<D>,
    /// The group that was asked and has not replied yet. It may take tokens at any time.
    asked: Option<(Group<K>, GroupFuture)>,
    taken: Vec<Taken<K>>,
    /// Tokens on their way back. They are sent once: a second time would make tokens.
    giving_back: Option<JoinAll<'static, Result<Decision, StoreError>>>,
}

/// What a group took.
struct Taken<K> {
    key: K,
    /// Gives it back.
    give_back: Check,
    /// The indices of its parts in the whole check.
    parts: SmallVec<[usize; 4]>,
}

impl<K: GroupKey, D: DecideGroup<K>> Taking<K, D> {
    pub(super) fn new(decide: D) -> Self {
        Self { decide: Arc::new(decide), asked: None, taken: Vec::new(), giving_back: None }
    }

    /// Takes the tokens of one group.
    pub(super) async fn take(&mut self, group: &Group<K>) -> Result<Decision, StoreError> {
        let future = (self.decide)(&group.key, group.check.clone());
        let (_, future) = self.asked.insert((group.clone(), future));
        let result = future.await;
        self.asked = None;
        if let Ok(decision) = &result {
            self.taken.extend(Taken::by(group, decision));
        }
        result
    }

    /// Asks what one group would decide, for a check that was denied already.
    pub(super) fn peek(&self, group: &Group<K>) -> GroupFuture {
        (self.decide)(&group.key, doing_as(&Check::new(Action::Peek), &group.check))
    }

    /// Gives back what was taken. Calls `returned` with the indices of the parts whose tokens are
    /// back, and the decision about them.
    pub(super) async fn give_back(&mut self, mut returned: impl FnMut(&[usize], &Decision)) {
        let taken = std::mem::take(&mut self.taken);
        let sent = taken.iter().map(|taken| taken.send_back(&*self.decide));
        let results = self.giving_back.insert(join_all(sent)).await;
        self.giving_back = None;
        for (taken, result) in taken.iter().zip(results) {
            // Sent again, tokens whose return is uncertain might return twice.
            if let Ok(decision) = result {
                returned(&taken.parts, &decision);
            }
        }
    }

    /// Keeps what was taken.
    pub(super) fn keep(mut self) {
        self.taken.clear();
    }
}

impl<K: GroupKey, D: DecideGroup<K>> Drop for Taking<K, D> {
    fn drop(&mut self) {
        let (mut asked, giving_back) = (self.asked.take(), self.giving_back.take());
        let mut taken = std::mem::take(&mut self.taken);
        // The step may be on its way once more, and would find that it was made.
        asked.take_if(|(group, _)| group.check.hold().is_some());
        taken.retain(|taken| taken.give_back.hold().is_none());
        if asked.is_none() && giving_back.is_none() && taken.is_empty() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let decide = Arc::clone(&self.decide);
        runtime.spawn(async move {
            join_all(taken.iter().map(|taken| taken.send_back(&*decide))).await;
            if let Some(giving_back) = giving_back {
                giving_back.await;
            }
            if let Some((group, future)) = asked
                && let Ok(decision) = future.await
                && let Some(taken) = Taken::by(&group, &decision)
            {
                // An error leaves fewer tokens than there could be, never more.
                let _ = taken.send_back(&*decide).await;
            }
        });
    }
}

impl<K: GroupKey> Taken<K> {
    /// Returns what `group` took, if anything. A part in shadow mode took its tokens only if its
    /// verdict is "admitted". What was decided locally took nothing from a store, so giving it back
    /// would make tokens.
    fn by(group: &Group<K>, decision: &Decision) -> Option<Self> {
        if decision.is_denied() || decision.source() == Source::Local {
            return None;
        }
        if group.check.hold().is_some() {
            let (key, parts) = (group.key.clone(), group.parts.clone());
            return group.check.undone(decision).map(|give_back| Self { key, give_back, parts });
        }
        let mut give_back = Check::new(Action::GiveBack);
        let mut indices = SmallVec::new();
        let parts = group.check.parts().iter().zip(decision.verdicts());
        for ((part, verdict), &index) in parts.zip(&group.parts) {
            if verdict.admitted && part.cost != Cost::NONE {
                give_back.push(part.clone().taken_at(decision.at()));
                indices.push(index);
            }
        }
        (!indices.is_empty()).then(|| Self { key: group.key.clone(), give_back, parts: indices })
    }

    fn send_back(&self, decide: &impl DecideGroup<K>) -> GroupFuture {
        decide(&self.key, self.give_back.clone())
    }
}
