//! Holds: tokens that are taken for a request whose usage is only estimated, and corrected once it
//! is known.
//!
//! [`Limiter::reserve`](crate::Limiter::reserve) takes the estimate from every limit of a request,
//! all or nothing, and gives a [`Hold`]. [`Hold::settle`] corrects it. Limits that count requests
//! take the request itself, which stays taken.
//!
//! Checked before and charged after, a budget for three requests lets thirty parallel ones pass.
//! With holds exactly three pass, since each has taken its estimate before it begins. Nothing leaks
//! either: a process that crashes has paid its estimates, and refill pays them back.
//!
//! ```
//! use sluice::{
//!     Client, Counts, Limiter, Metering, Policy, Rate, Request, Rule, Terms, TokenUsage, Usage,
//!     holds::{HoldTerms, Reserved},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 100,000 tokens a minute for each client.
//! let tokens = Terms::from("100000/minute".parse::<Rate>()?)
//!     .metering(Some(Metering::new(Counts::TOTAL_TOKENS)));
//! let limiter = Limiter::builder(Policy::builder().limit(Rule::new("tokens", tokens)).build()?);
//! let limiter = limiter.build();
//!
//! let estimate = Usage::of_tokens(TokenUsage::new(812, 1_024));
//! let request = Request::new(Client::Key(b"alice"), "POST", "/chat").with_usage(&estimate);
//! let Reserved::Held(hold) = limiter.reserve(&request, HoldTerms::default()).await? else {
//!     return Ok(()); // Denied: too many tokens are held or used.
//! };
//! // ... the model answers ...
//! let settlement = hold.settle(&Usage::of_tokens(TokenUsage::new(790, 311))).await?;
//! assert_eq!(settlement.limits[0].given_back(), 812 + 1_024 - 790 - 311);
//! # Ok(())
//! # }
//! ```

mod error;
mod hold;
mod recorded;
mod reservation;
mod reserving;
mod settlement;

pub use self::{
    error::HoldError,
    hold::{Extended, Hold, Reserved},
    reservation::{Reservation, ReservedPart},
    reserving::HoldTerms,
    settlement::{SettledPart, Settlement, SettlementState},
};
