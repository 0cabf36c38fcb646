//! `POST /v1/reserve`, `/v1/extend` and `/v1/settle`: tokens that are held for a request whose
//! usage is only estimated, and corrected once it is known.
//!
//! ```json
//! { "client": "alice", "method": "POST", "path": "/v1/chat/completions", "model": "large",
//!   "costs": { "input_tokens": 812, "output_tokens": 1024 }, "hold_for": "2m", "id": "01J..." }
//! ```
//!
//! A reservation has the members of a check, and what the request will use. It takes that from
//! every limit that applies, all or nothing, and answers with a decision and the `reservation`: a
//! text that any replica of the fleet can extend and settle, without knowing the request.
//!
//! | file | what it does |
//! |---|---|
//! | `wire` | reads the bodies |
//! | `sealed` | writes a reservation as a text, and reads it |
//! | `seals` | the keys by which a text is known to be the fleet's own |
//! | `agreement` | makes replicas without a secret use one key |
//! | `answers` | writes the responses |

mod agreement;
mod answers;
pub(crate) mod description;
mod sealed;
mod seals;
#[cfg(test)]
mod tests;
mod wire;

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::request::Parts;
use sluice::{
    Limiter,
    holds::{Extended, HoldError, HoldTerms, Reserved},
    stats::events::Events,
};
use sluice_core::Prices;
use sluice_http::{Problem, ProblemKind, body, decision};
use sluice_telemetry::{HoldRefusal, HoldRequestLabel};
use utoipa::openapi::HttpMethod;

pub(crate) use self::agreement::agree;
pub use self::seals::Seals;
use self::{
    answers::{Held, Settled},
    sealed::Sealed,
    wire::{ExtendBody, ReserveBody, SettleBody},
};
use super::{
    FrontEnd, Services,
    check::{invalid, require_post},
};

/// The longest body with a request.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The longest body with a reservation, of which each limit takes some 300 bytes.
const MAX_RESERVATION_BYTES: usize = 1 << 20;

/// `POST /v1/reserve`.
#[derive(Debug)]
pub(crate) struct Reserve(Desk);

/// `POST /v1/extend`.
#[derive(Debug)]
pub(crate) struct Extend(Desk);

/// `POST /v1/settle`.
#[derive(Debug)]
pub(crate) struct Settle(Desk);

/// What all steps of a hold need.
#[derive(Clone, Debug)]
struct Desk {
    limiter: Limiter,
    events: Events,
    seals: Arc<Seals>,
}

impl Desk {
    fn new(services: &Services) -> Self {
        Self {
            limiter: services.engine.limiter().clone(),
            events: services.events.clone(),
            seals: Arc::clone(&services.seals),
        }
    }

    fn prices(&self) -> Arc<Prices> {
        self.events.prices()
    }

    /// Counts a request that was refused before any limit was asked.
    fn count(&self, request: HoldRequestLabel, problem: &Problem) {
        let reason = match problem.kind() {
            ProblemKind::ReservationUnknown => HoldRefusal::UnknownReservation,
            // The hold is known, and what came of the step is counted.
            ProblemKind::HoldConflict => return,
            _ if problem.status().is_client_error() => HoldRefusal::BadRequest,
            _ => return,
        };
        self.events.recorders().holds.refused(request, reason);
    }

    /// Reads the reservation in a body.
    fn open(&self, text: &str) -> Result<Sealed, Problem> {
        self.seals.open(text).ok_or_else(|| {
            let what = "reservation: not one of this fleet: send the text of `/v1/reserve` \
                        unchanged, to a replica that has the same `clients.secret` and store";
            Problem::new(ProblemKind::ReservationUnknown, what).at("reservation")
        })
    }
}

impl FrontEnd for Reserve {
    const PATH: &'static str = "/v1/reserve";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self(Desk::new(services))
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        let answered = self.answer(head, body).await;
        answered.inspect_err(|problem| self.0.count(HoldRequestLabel::Reserve, problem))
    }
}

impl Reserve {
    async fn answer(&self, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        require_post(Self::PATH, &head.method)?;
        let bytes = body::read(head, body, MAX_REQUEST_BYTES).await?;
        let reserve: ReserveBody<'_> = body::parse(&bytes)?;
        let model = reserve.model()?.map(Box::from);
        let (requests, usage) = reserve.costs().estimate(model.as_deref(), &self.0.prices())?;
        let (id, hold_for) = (reserve.id()?.map(str::to_owned), reserve.hold_for()?);
        let mut terms = HoldTerms::default();
        terms.name = id.as_deref().map(str::as_bytes);
        terms.hold_for = hold_for;
        let check = reserve.into_check(requests);
        // Who reserves also settles, and gives slots back then.
        let request = check.request()?.with_usage(&usage).followed();
        let reserved = self.0.limiter.reserve(&request, terms).await.map_err(problem)?;
        let hold = match reserved {
            Reserved::Denied(denial) => return Ok(decision::respond(&denial)),
            Reserved::Held(hold) => hold,
        };
        let is_repeated = hold.is_repeated();
        let decision = hold.decision().clone();
        let sealed = Sealed { reservation: hold.into_reservation(), model };
        Ok(Held { sealed: &sealed, decision: &decision, is_repeated }.respond(&self.0.seals))
    }
}

impl FrontEnd for Extend {
    const PATH: &'static str = "/v1/extend";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self(Desk::new(services))
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        let answered = self.answer(head, body).await;
        answered.inspect_err(|problem| self.0.count(HoldRequestLabel::Extend, problem))
    }
}

impl Extend {
    async fn answer(&self, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        require_post(Self::PATH, &head.method)?;
        let bytes = body::read(head, body, MAX_RESERVATION_BYTES).await?;
        let extend: ExtendBody<'_> = body::parse(&bytes)?;
        let sealed = self.0.open(extend.reservation())?;
        let usage = extend.costs().later_usage(sealed.model.as_deref(), &self.0.prices())?;
        let extended = self.0.limiter.extend(&sealed.reservation, &usage).await;
        match extended.map_err(problem)? {
            (Extended::Denied(denial), _) | (Extended::Held(denial), None) => {
                Ok(decision::respond(&denial))
            }
            (Extended::Held(decision), Some(reservation)) => {
                let is_repeated = decision.guarded() == Some(sluice_core::Guarded::Repeated);
                let sealed = Sealed { reservation, ..sealed };
                Ok(Held { sealed: &sealed, decision: &decision, is_repeated }
                    .respond(&self.0.seals))
            }
        }
    }
}

impl FrontEnd for Settle {
    const PATH: &'static str = "/v1/settle";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self(Desk::new(services))
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        let answered = self.answer(head, body).await;
        answered.inspect_err(|problem| self.0.count(HoldRequestLabel::Settle, problem))
    }
}

impl Settle {
    async fn answer(&self, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        require_post(Self::PATH, &head.method)?;
        let bytes = body::read(head, body, MAX_RESERVATION_BYTES).await?;
        let settle: SettleBody<'_> = body::parse(&bytes)?;
        let sealed = self.0.open(settle.reservation())?;
        let usage = settle.costs().later_usage(sealed.model.as_deref(), &self.0.prices())?;
        let settled = self.0.limiter.settle(&sealed.reservation, &usage).await;
        Ok(Settled(&settled.map_err(problem)?).respond())
    }
}

fn problem(error: HoldError) -> Problem {
    match error {
        HoldError::Request(error) => error.into(),
        HoldError::Store(error) => error.into(),
        HoldError::Conflict => Problem::new(ProblemKind::HoldConflict, error.to_string()),
        HoldError::TooLong { .. } => invalid("hold_for", &error),
        HoldError::NotEstimated { .. } => invalid("costs", &error),
        other => Problem::new(ProblemKind::StoreUnavailable, other.to_string()),
    }
}
