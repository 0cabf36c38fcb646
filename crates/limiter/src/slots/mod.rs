//! Slots: how many requests may be in flight at the same time.
//!
//! A limit with [`Algorithm::Concurrent`](crate::Algorithm::Concurrent) gives a slot to each
//! request from its start to its end. It applies to requests of which the caller
//! [sees the end](crate::Request::followed). [`Checked::slots`](crate::Checked::slots) returns what
//! such a request holds: keep it until the last byte of the response is sent. The slots are given
//! back when it is dropped.
//!
//! ```
//! use sluice::{Algorithm, Client, Concurrent, Limiter, Policy, Request, Rule, Terms};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One request of each client at a time.
//! let downloads = Rule::new("downloads", Terms::new(Algorithm::Concurrent(Concurrent::new(1)?)));
//! let limiter = Limiter::builder(Policy::builder().limit(downloads).build()?).build();
//!
//! let request = Request::new(Client::Key(b"alice"), "GET", "/file").followed();
//! let checked = limiter.check(&request).await?;
//! let slots = checked.slots().clone();
//! drop(checked);
//! assert!(limiter.check(&request).await?.is_denied());
//! // ... the file is sent ...
//! drop(slots);
//! # tokio::time::sleep(std::time::Duration::from_millis(10)).await;
//! assert!(limiter.check(&request).await?.is_allowed());
//! # Ok(())
//! # }
//! ```
//!
//! `RateLimitLayer` does this for the services that it wraps, to the end of the response's body. It
//! cuts nothing off: a service that wants to finds [`HeldSlots::cut`] in the
//! [`Checked`](crate::Checked) of the request's extensions.
//!
//! # Crashes and outages
//! Slots that are held are renewed once in each [term](crate::Concurrent::term), in a task on the
//! runtime of the request that took them. So those of a process that crashes are free after one to
//! two terms. A slot that could not be renewed in time is lost, since another request may have it
//! by then: [`OnLost`](crate::policy::OnLost) says whether its own one goes on.
//!
//! [`Limiter::finish_slots`](crate::Limiter::finish_slots) waits until all slots are given back,
//! before the process ends.

mod book;
mod held_slots;
mod keeper;
mod lost_log;
#[cfg(test)]
mod tests;
mod timing;
mod uncancelled;

pub use self::held_slots::HeldSlots;
pub(crate) use self::{keeper::SlotKeeper, uncancelled::Uncancelled};
