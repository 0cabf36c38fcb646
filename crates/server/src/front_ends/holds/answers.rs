//! The responses to steps of holds.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use sluice::{
    Decision,
    holds::{SettledPart, Settlement},
    response::{DecisionBody, headers, schema::Allowed},
};
use sluice_core::Source;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{sealed::Sealed, seals::Seals};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Tokens that are held.
pub(super) struct Held<'a> {
    pub(super) sealed: &'a Sealed,
    pub(super) decision: &'a Decision,
    /// Whether they were held before.
    pub(super) is_repeated: bool,
}

#[derive(Serialize)]
struct HeldBody<'a> {
    #[serde(flatten)]
    hold: HoldBody<'a>,
    #[serde(flatten)]
    decision: DecisionBody<'a>,
}

/// What a response has beside the decision.
#[derive(Serialize, ToSchema)]
struct HoldBody<'a> {
    /// `held`, or `repeated` if the same was held before, and nothing was taken now.
    state: &'static str,
    /// The text by which the hold is extended and settled. It names no client.
    reservation: String,
    /// How long the tokens are held. What is not settled within twice that time stays charged.
    expires_in: String,
    /// The limits of which the burst is held, since the estimate is above it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable = false)]
    clamped: Vec<&'a str>,
    /// `local` if the replica decided alone, since the store was away; else absent. Only this
    /// replica can settle the hold until the store is back, and only it gives back what was not
    /// used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_by: Option<&'static str>,
}

/// The schema of a response: that of an allowed decision, with the hold.
pub(super) struct HeldAnswer;

/// A hold that was settled.
pub(super) struct Settled<'a>(pub(super) &'a Settlement);

#[derive(Serialize, ToSchema)]
#[schema(as = Settled)]
pub(super) struct SettledBody<'a> {
    /// `settled`; `repeated` if it was settled with the same usage before, and nothing was changed
    /// now; `late` if the store does not know the hold. What was used is charged then all the same.
    state: &'static str,
    /// What each limit was charged in all, in tokens of its bucket: millionths of the currency for
    /// one that counts money.
    #[schema(value_type = BTreeMap<String, u64>)]
    charged: BTreeMap<&'a str, u64>,
    /// What was held and not used.
    #[schema(value_type = BTreeMap<String, u64>)]
    given_back: BTreeMap<&'a str, u64>,
    /// What was used beyond what was held.
    #[schema(value_type = BTreeMap<String, u64>)]
    overrun: BTreeMap<&'a str, u64>,
    /// `local` if the replica settled alone what it had reserved alone, since the store was away;
    /// else absent. The store is charged once it is back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_by: Option<&'static str>,
}

impl Held<'_> {
    /// Returns how long the tokens are held from now on: of a reservation that is repeated, less
    /// than it said.
    fn expires_in(&self) -> Duration {
        let reservation = &self.sealed.reservation;
        let ends_at = reservation.reserved_at.after(reservation.hold_for);
        ends_at.since(self.decision.at()).min(reservation.hold_for)
    }

    pub(super) fn respond(&self, seals: &Seals) -> Response {
        let reservation = &self.sealed.reservation;
        let clamped = reservation.parts.iter().filter(|part| part.clamped);
        let hold = HoldBody {
            state: if self.is_repeated { "repeated" } else { "held" },
            reservation: seals.seal(self.sealed),
            expires_in: written(self.expires_in()),
            clamped: clamped.map(|part| part.limit.name()).collect(),
            decided_by: decided_by(self.decision),
        };
        let body = HeldBody { hold, decision: DecisionBody::of(self.decision) };
        let mut fields = HeaderMap::with_capacity(headers::MOST_FIELDS);
        headers::write(self.decision, &mut fields);
        respond(&body, fields)
    }
}

impl Settled<'_> {
    pub(super) fn respond(&self) -> Response {
        let Settlement { state, limits, decision, .. } = self.0;
        let of = |tokens: fn(&SettledPart) -> u64| {
            let amounts = limits.iter().map(move |part| (part.limit.name(), tokens(part)));
            amounts.filter(|(_, tokens)| *tokens > 0).collect()
        };
        let body = SettledBody {
            state: state.as_str(),
            charged: limits.iter().map(|part| (part.limit.name(), part.charged)).collect(),
            given_back: of(SettledPart::given_back),
            overrun: of(SettledPart::overrun),
            decided_by: decided_by(decision),
        };
        respond(&body, HeaderMap::new())
    }
}

impl PartialSchema for HeldAnswer {
    fn schema() -> RefOr<Schema> {
        let (RefOr::T(Schema::Object(mut schema)), RefOr::T(Schema::Object(hold))) =
            (Allowed::schema(), HoldBody::schema())
        else {
            unreachable!("both are objects");
        };
        schema.description = Some("The tokens are held.".to_owned());
        schema.properties.extend(hold.properties);
        schema.required.extend(hold.required);
        RefOr::T(Schema::Object(schema))
    }
}

impl ToSchema for HeldAnswer {
    fn name() -> Cow<'static, str> {
        "Held".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Allowed::schemas(schemas);
    }
}

/// Names who decided, if it was not the store.
fn decided_by(decision: &Decision) -> Option<&'static str> {
    // Where no limit applies, the store had nothing to decide.
    let is_local = decision.source() == Source::Local && !decision.verdicts().is_empty();
    is_local.then_some("local")
}

fn respond(body: &impl Serialize, mut fields: HeaderMap) -> Response {
    let text = serde_json::to_vec(body).expect("numbers and strings are always valid JSON");
    fields.insert(CONTENT_TYPE, JSON);
    let mut response = Response::new(Body::from(text));
    *response.headers_mut() = fields;
    response
}

/// Writes a time as `wire` reads it: whole seconds, or whole milliseconds.
fn written(span: Duration) -> String {
    if span.subsec_nanos() == 0 {
        format!("{}s", span.as_secs())
    } else {
        format!("{}ms", span.as_millis())
    }
}
