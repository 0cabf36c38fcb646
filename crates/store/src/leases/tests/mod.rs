//! Leases as a whole.

mod book;
mod fixture;
mod round_trips;
mod store;
