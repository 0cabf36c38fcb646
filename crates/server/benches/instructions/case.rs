//! What is counted.

use std::fmt;

use crate::{
    subject::{Door, Mode},
    traffic::Traffic,
};

/// A path of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// The limiter with the memory store.
    InMemory { clients: usize },
    /// The limiter with the Redis store.
    OnRedis { traffic: Traffic, in_flight: usize },
    /// The built binary.
    InServer { door: Door, mode: Mode, traffic: Traffic },
}

impl Case {
    pub(crate) const ALL: [Self; 12] = [
        Self::InMemory { clients: 1 },
        Self::InMemory { clients: 100_000 },
        Self::OnRedis { traffic: Traffic::Uniform, in_flight: 64 },
        Self::OnRedis { traffic: Traffic::Uniform, in_flight: 256 },
        Self::OnRedis { traffic: Traffic::Hot, in_flight: 64 },
        Self::OnRedis { traffic: Traffic::Hot, in_flight: 256 },
        Self::InServer { door: Door::Http, mode: Mode::Memory, traffic: Traffic::Uniform },
        Self::InServer { door: Door::Http, mode: Mode::Exact, traffic: Traffic::Uniform },
        Self::InServer { door: Door::Http, mode: Mode::Leased, traffic: Traffic::Hot },
        Self::InServer { door: Door::Envoy, mode: Mode::Memory, traffic: Traffic::Uniform },
        Self::InServer { door: Door::Envoy, mode: Mode::Exact, traffic: Traffic::Uniform },
        Self::InServer { door: Door::Envoy, mode: Mode::Leased, traffic: Traffic::Hot },
    ];

    /// Returns the name in a form for files.
    pub(crate) fn file_stem(self) -> String {
        let name = self.to_string().to_lowercase();
        name.split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InMemory { clients: 1 } => f.write_str("in process, memory, one client"),
            Self::InMemory { clients } => write!(f, "in process, memory, {clients} clients"),
            Self::OnRedis { traffic, in_flight } => {
                write!(f, "in process, Redis, exact, {traffic}, {in_flight} in flight")
            }
            Self::InServer { door, mode, traffic } => write!(f, "{door}, {mode}, {traffic}"),
        }
    }
}
