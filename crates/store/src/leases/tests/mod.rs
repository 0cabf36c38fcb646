//! Leases as a whole.

mod round_trips;
