//! What happens in a schedule.

use super::time::Nanos;

/// Something that a driver makes happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The driver chooses what comes next.
    Choose,
    /// A replica asks for a lease.
    Ask {
        replica: usize,
        want: u64,
    },
    /// A replica admits what its first lease covers, and is stopped in the middle of it.
    Spend {
        replica: usize,
        tokens: u64,
        stopped_for: Nanos,
    },
    /// A replica settles its first lease, and is stopped in the middle of it.
    Settle {
        replica: usize,
        stopped_for: Nanos,
    },
    /// A replica reports what it has spent of its first lease, and holds the rest.
    Report {
        replica: usize,
    },
    /// Another client takes tokens exactly.
    Take {
        tokens: u64,
    },
    /// Another client takes all that there is.
    TakeAll,
    Charge {
        tokens: u64,
    },
    GiveBack {
        tokens: u64,
    },
    Peek,
    Reset,
    Stop {
        replica: usize,
        time: Nanos,
    },
    Crash {
        replica: usize,
    },
    /// The store's clock steps.
    Step {
        micros: i64,
    },
    /// The store loses its last writes.
    FailOver {
        lag: Nanos,
    },
    /// The limit gets the rate of this index.
    ChangeRate {
        index: usize,
    },
}

impl Act {
    /// Returns the replica that does it, if one does.
    pub(super) fn replica(self) -> Option<usize> {
        match self {
            Self::Ask { replica, .. }
            | Self::Spend { replica, .. }
            | Self::Settle { replica, .. }
            | Self::Report { replica } => Some(replica),
            _ => None,
        }
    }
}
