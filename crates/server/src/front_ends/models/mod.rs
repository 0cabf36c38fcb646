//! Requests to language models that pass the gateway (`llm.routes`): their usage is reserved before
//! they are forwarded, metered as the answer passes, and settled in the end.
//!
//! - The body is read up to `llm.body`, to estimate what it may use. A longer one is estimated by
//!   its length, and streamed on. What cannot be read is refused in the vendor's shape.
//! - The estimate is taken from every limit that applies, all or nothing. A denial is answered in
//!   the vendor's shape, with the header fields that its SDKs read.
//! - The answer passes as it comes, and is read on its way. What it reports is settled; when it
//!   ends early, what was seen of it, which is never nothing; when it is an error, nothing. A
//!   complete answer without usage leaves the estimate as it is.
//! - Settling is a task of its own, which the end of the request does not end, and for which a
//!   replica that stops waits.
//!
//! No text of a request or an answer is kept or logged, but the model's name.
//!
//! | file | what it does |
//! |---|---|
//! | `route` | finds the requests that go to models |
//! | `asked` | reads a request, and prepares its body for the vendor |
//! | `answer_lengths` | how long the answers of each model are |
//! | `prefixed` | a body whose beginning was read |
//! | `account` | what is held for a request, settled once |
//! | `metered_body` | the answer on its way to the client |
//! | `answers` | responses in the vendor's shape |

mod account;
mod answer_lengths;
mod answers;
mod asked;
mod metered_body;
mod prefixed;
mod route;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{
    HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING,
    },
    request::Parts,
};
use sluice::{
    holds::{HoldError, HoldTerms, Reserved},
    response::ProblemKind,
    stats::events::Events,
};
use sluice_config::LlmSettings;
use sluice_core::NormalPath;
use sluice_gateway::{
    ClientConnection, DecidingFields, Destination, Gateway, OccupiedSlots, UpstreamBody,
};
use sluice_llm::Framing;
use sluice_telemetry::ModelRefusal;

use self::{
    account::{Account, End, Ledger},
    answers::VendorAnswers,
    asked::Asked,
    route::Routes,
};
pub(crate) use self::{metered_body::MeteredBody, route::Route};
use crate::engine::Engine;

const IDENTITY: HeaderValue = HeaderValue::from_static(sluice_llm::ACCEPT_ENCODING);

/// Forwards requests to language models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Models {
    engine: Arc<Engine>,
    routes: Routes,
    ledger: Ledger,
}

/// A request on its way to a model.
pub(crate) struct Outgoing<'a> {
    pub(crate) route: Route,
    pub(crate) gateway: &'a Gateway,
    pub(crate) destination: Destination,
    pub(crate) peer: IpAddr,
    pub(crate) path: &'a NormalPath<'a>,
    pub(crate) head: &'a mut Parts,
    pub(crate) body: &'a mut Body,
}

impl Models {
    /// Forwards requests as `settings` say, and records what they used as `events`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, events: Events, settings: Option<LlmSettings>) -> Self {
        Self { engine, routes: Routes::new(settings), ledger: Ledger::new(events) }
    }

    /// Returns the routes, which a reload replaces.
    pub(crate) const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Waits until the usage of all requests is settled, for at most `grace`. Returns how many are
    /// left.
    pub(crate) async fn finish(&self, grace: Duration) -> usize {
        self.ledger.finish(grace).await
    }

    /// Reserves what a request may use, forwards it, and meters its answer.
    ///
    /// # Errors
    /// Returns the response that takes the place of the vendor's.
    pub(crate) async fn respond(
        &self,
        outgoing: Outgoing<'_>,
    ) -> Result<http::Response<MeteredBody>, Box<Response>> {
        let Outgoing { route, gateway, destination, peer, path, head, body } = outgoing;
        let vendor = VendorAnswers(route.vendor);
        let recorder = &self.ledger.recorders().models;
        let identity = self.engine.identify(&head.headers, peer);
        let identity = identity.map_err(|error| vendor.problem(error.into()))?;

        let read = Asked::read(&route, &head.headers, body, self.ledger.lengths()).await;
        let mut asked = read.map_err(|unreadable| {
            recorder.refused(vendor.label(), ModelRefusal::BadRequest);
            vendor.unreadable(unreadable)
        })?;
        let prices = self.ledger.prices();
        let usage = account::priced(&prices, asked.request.model(), asked.usage());

        let request =
            self.engine.request(&identity, head.method.as_str(), path.as_str(), &head.headers);
        let request = request.with_usage(&usage);
        let limiter = self.engine.limiter();
        let reserved = limiter
            .reserve_identified(&identity, &request, HoldTerms::default().renewing_slots())
            .await;
        let hold = match reserved {
            Ok(Reserved::Held(hold)) => hold,
            Ok(Reserved::Denied(denial)) => return Err(vendor.denied(&denial)),
            Err(error) => {
                if matches!(error, HoldError::NotEstimated { .. }) {
                    recorder.refused(vendor.label(), ModelRefusal::NoPrice);
                }
                return Err(vendor.not_held(error, &asked));
            }
        };
        let decision = hold.decision().clone();
        let slots = OccupiedSlots::kept_elsewhere(hold.cut());
        let mut account = self.ledger.open(route.vendor, &mut asked, prices, hold);

        let client = ClientConnection { peer, trusted: self.engine.trusts(peer) };
        let fields =
            DecidingFields::new(self.engine.fields_read(), self.engine.field_of_trusted_proxies());
        let mut head = super::taken_head::take(head);
        head.headers.insert(ACCEPT_ENCODING, IDENTITY);
        if let Some(length) = asked.length {
            head.headers.insert(CONTENT_LENGTH, length.into());
            head.headers.remove(TRANSFER_ENCODING);
            // The client has sent its body already.
            head.headers.remove(EXPECT);
        }
        match gateway.forward(client, destination, &fields, head, asked.body, slots).await {
            Ok(mut response) => {
                let status = response.status();
                if gateway.write_limits(&decision, status, response.headers_mut()) {
                    vendor.write_limits(&decision, response.headers_mut());
                }
                Ok(metered(response, account, asked.adds_usage_chunk))
            }
            Err(problem) => {
                // A vendor that is too slow may still work on the request.
                account.close(match problem.kind() {
                    ProblemKind::UpstreamTooSlow => End::Abandoned,
                    _ => End::Failed,
                });
                let mut response = vendor.problem(problem);
                let status = response.status();
                if gateway.write_limits(&decision, status, response.headers_mut()) {
                    vendor.write_limits(&decision, response.headers_mut());
                }
                Err(response)
            }
        }
    }
}

/// Meters a response, if it is one that used something.
fn metered(
    response: http::Response<UpstreamBody>,
    mut account: Account,
    adds_usage_chunk: bool,
) -> http::Response<MeteredBody> {
    let (mut head, body) = response.into_parts();
    let is_success = head.status.is_success() && head.status != StatusCode::NO_CONTENT;
    if !is_success {
        account.close(End::Failed);
        return http::Response::from_parts(head, MeteredBody::unmetered(body));
    }
    let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = field(CONTENT_TYPE).unwrap_or_default();
    let framing = Framing::of(content_type, field(CONTENT_ENCODING));
    let meter = framing.map(|framing| {
        let meter = account.meter(framing);
        if adds_usage_chunk && framing == Framing::Sse {
            meter.without_usage_chunk()
        } else {
            meter
        }
    });
    let is_shortened = adds_usage_chunk && framing == Some(Framing::Sse);
    if is_shortened {
        head.headers.remove(CONTENT_LENGTH);
    }
    http::Response::from_parts(head, MeteredBody::new(body, meter, account, is_shortened))
}
