//! Named plans that change limits' numbers.

use std::fmt;

use crate::policy::builder::{Endpoint, LimitSpec};

/// A named plan.
///
/// The numbers of the default and of endpoints are the tier's own where it has some; else, and for
/// general limits per client, they are everyone's, times `multiply`. Limits that several clients
/// share stay as they are.
#[derive(Clone)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// What everyone's rates and bursts are multiplied by; at least 1.
    pub multiply: u64,
    /// No limits per client at all; those that clients share still apply.
    pub unlimited: bool,
    /// In place of everyone's default.
    pub defaults: Option<LimitSpec>,
    /// In place of everyone's endpoints of the same path, and beside the others.
    pub endpoints: Vec<Endpoint>,
    /// The keys of the clients that have this tier, whatever a trusted header says.
    pub clients: Vec<Vec<u8>>,
}

impl Tier {
    /// A tier called `name` that changes nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            multiply: 1,
            unlimited: false,
            defaults: None,
            endpoints: Vec::new(),
            clients: Vec::new(),
        }
    }
}

impl fmt::Debug for Tier {
    /// Counts the clients: their keys do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, multiply, unlimited, defaults, endpoints, clients } = self;
        f.debug_struct("Tier")
            .field("name", name)
            .field("multiply", multiply)
            .field("unlimited", unlimited)
            .field("defaults", defaults)
            .field("endpoints", endpoints)
            .field("clients", &clients.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_shows_no_client_in_logs() {
        let tier = Tier { clients: vec![b"s3cret".to_vec(); 2], ..Tier::new("pro") };
        let shown = format!("{tier:?}");
        assert!(
            shown.contains("clients: 2") && !shown.contains("s3cret") && !shown.contains("115"),
            "{shown}"
        );
    }
}
