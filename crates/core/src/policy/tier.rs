//! Named plans, which change the rates of limits.

use std::fmt;

use crate::policy::limit_spec::{Endpoint, LimitSpec};

/// A named plan for some clients, which changes their limits.
///
/// A tier can have its own default limit and its own endpoints. The rates of all other limits per
/// client are multiplied by `multiply`, and `burst` is the burst of the default limit and of the
/// endpoints that are not the tier's own. Limits whose buckets several clients share do not change.
#[derive(Clone)]
#[non_exhaustive]
pub struct Tier {
    /// The tier's name.
    pub name: String,
    /// The factor for the rates and bursts of limits per client; at least 1.
    pub multiply: u64,
    /// The burst of the default limit and of the endpoints that are not the tier's own, in place of
    /// the multiplied one; at least 1.
    pub burst: Option<u64>,
    /// Whether the tier's clients have no limits per client at all. Limits whose buckets clients
    /// share still apply.
    pub unlimited: bool,
    /// The tier's own default limit, if it has one.
    pub defaults: Option<LimitSpec>,
    /// The tier's own endpoints. They replace the endpoints with the same path for its clients.
    pub endpoints: Vec<Endpoint>,
    /// The keys of the tier's clients. They have this tier even if a trusted header names another.
    /// A key that is an address is also the client at that address.
    pub clients: Vec<Vec<u8>>,
}

impl Tier {
    /// Creates a tier that changes nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            multiply: 1,
            burst: None,
            unlimited: false,
            defaults: None,
            endpoints: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// Sets the factor for the rates and bursts of limits per client.
    #[must_use]
    pub const fn multiply(mut self, factor: u64) -> Self {
        self.multiply = factor;
        self
    }

    /// Sets the burst of the default limit and of the endpoints that are not the tier's own.
    #[must_use]
    pub const fn burst(mut self, tokens: u64) -> Self {
        self.burst = Some(tokens);
        self
    }

    /// Removes all limits per client.
    #[must_use]
    pub const fn unlimited(mut self) -> Self {
        self.unlimited = true;
        self
    }

    /// Sets the tier's own default limit.
    #[must_use]
    pub fn default_limit(mut self, limit: impl Into<LimitSpec>) -> Self {
        self.defaults = Some(limit.into());
        self
    }

    /// Adds an endpoint of the tier's own.
    #[must_use]
    pub fn endpoint(mut self, path: impl Into<String>, limit: impl Into<LimitSpec>) -> Self {
        self.endpoints.push(Endpoint::new(path, limit));
        self
    }

    /// Adds a client by its key.
    #[must_use]
    pub fn client(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.clients.push(key.into());
        self
    }
}

impl fmt::Debug for Tier {
    /// Writes the number of clients instead of their keys, which do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, multiply, burst, unlimited, defaults, endpoints, clients } = self;
        f.debug_struct("Tier")
            .field("name", name)
            .field("multiply", multiply)
            .field("burst", burst)
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
    fn debug_output_contains_no_client_keys() {
        let tier = Tier::new("pro").client(*b"s3cret").client(*b"s3cret");
        let shown = format!("{tier:?}");
        assert!(
            shown.contains("clients: 2") && !shown.contains("s3cret") && !shown.contains("115"),
            "{shown}"
        );
    }
}
