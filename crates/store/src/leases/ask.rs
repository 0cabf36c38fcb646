//! What a replica sends to the store about one bucket, to get a lease.

use sluice_core::{Check, Part, Tag, Timestamp};

/// Asks for a lease, and settles what was spent of earlier ones in the same round trip.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The settlements, and then the check that asks for the lease. To be decided in this order,
    /// and sent no more than once.
    pub(crate) checks: Vec<Check>,
    /// The bucket and its limit; the cost is what is asked for.
    pub(super) part: Part,
    /// Tells the asks of a book apart.
    pub(super) number: u64,
    /// Read before anything is sent: the lease's time runs from here.
    pub(super) sent_at: Timestamp,
}

impl Ask {
    pub(super) const fn tag(&self) -> Tag {
        self.part.tag
    }
}
