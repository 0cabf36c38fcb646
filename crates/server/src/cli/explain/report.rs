//! What is said about a request, for both forms of the output.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Value, json};
use sluice::{Policy, Rate, Request, RequestError, RuleCost};
use sluice_core::{Client, ExplainedLimit, LimitKind, Obstacle, Part, Per};

use super::limit::{Bucket, Terms};
use crate::cli::words::{self, AnyOf};

/// How the client was found.
pub(super) struct Subject {
    /// The source of its name.
    pub(super) from: String,
    /// What its address may ask under keys that nothing vouches for.
    pub(super) unverified: Option<Rate>,
}

/// What is said about a request.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) method: String,
    /// The path as it was given.
    pub(super) path: String,
    pub(super) normal_path: String,
    pub(super) client: Who,
    pub(super) tier: Option<String>,
    /// The tier that the request names, where the policy does not have it or lists another one.
    pub(super) ignored_tier: Option<String>,
    pub(super) is_listed: bool,
    pub(super) endpoint: String,
    pub(super) exempt: Option<String>,
    pub(super) off: Option<String>,
    pub(super) unverified: Option<String>,
    /// The route to a model that the request takes, so that what it uses is metered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_route: Option<ModelRoute>,
    pub(super) limits: Vec<Applying>,
    pub(super) other_limits: Vec<NotApplying>,
}

/// A route to a model.
#[derive(Serialize)]
pub(super) struct ModelRoute {
    pub(super) path: String,
    pub(super) speaks: &'static str,
}

/// Who sends the request.
#[derive(Serialize)]
pub(super) struct Who {
    pub(super) hash: Option<String>,
    pub(super) from: String,
    pub(super) address: Option<IpAddr>,
}

/// A limit that applies.
#[derive(Serialize)]
pub(super) struct Applying {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) cost_from: Option<String>,
    #[serde(flatten)]
    pub(super) terms: Terms,
    pub(super) bucket: Bucket,
}

/// A limit that does not apply.
#[derive(Serialize)]
pub(super) struct NotApplying {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) because: String,
}

impl Report {
    /// Explains what `policy` does with `request`. The keys in Redis begin with `prefix`; `None` if
    /// the buckets are elsewhere.
    ///
    /// # Errors
    /// When the request cannot be checked.
    pub(super) fn of(
        policy: &Policy,
        prefix: Option<&str>,
        request: &Request<'_>,
        subject: Subject,
    ) -> Result<Self, RequestError> {
        let explained = policy.explain(request)?;
        let ignored = request.tier.filter(|tier| explained.tier.as_deref() != Some(tier));
        let mut report = Self {
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            normal_path: explained.path,
            client: Who {
                hash: explained.client.map(|tag| tag.to_string()),
                from: subject.from,
                address: match request.client {
                    Client::Address(address) => Some(address),
                    Client::Key(_) => request.address,
                },
            },
            ignored_tier: ignored.map(str::to_owned),
            tier: explained.tier,
            is_listed: explained.is_listed,
            endpoint: explained.endpoint.to_string(),
            exempt: explained.exempt.map(|pattern| pattern.to_string()),
            off: explained.off.map(|pattern| pattern.to_string()),
            unverified: subject
                .unverified
                .filter(|_| !explained.is_listed && request.cost.tokens() > 0)
                .map(|rate| rate.to_string()),
            model_route: None,
            limits: Vec::new(),
            other_limits: Vec::new(),
        };
        for ExplainedLimit { limit, kind, outcome, .. } in explained.limits {
            let (name, word) = (limit.name().to_owned(), kind_word(&kind));
            match outcome {
                Ok(part) => report.limits.push(Applying::of(&part, &kind, prefix)),
                Err(obstacle) => report.other_limits.push(NotApplying {
                    name,
                    kind: word,
                    reason: reason(&obstacle),
                    because: because(&obstacle, &kind),
                }),
            }
        }
        if report.limits.is_empty() {
            // An address's allowance bounds only what limits apply to.
            report.unverified = None;
        }
        Ok(report)
    }

    /// Says that the request takes this route to a model.
    pub(super) fn with_model_route(mut self, route: Option<ModelRoute>) -> Self {
        if route.is_some() {
            self.limits.iter_mut().for_each(|limit| limit.terms.meter());
        }
        Self { model_route: route, ..self }
    }

    /// Returns the report as JSON.
    pub(super) fn to_json(&self) -> Value {
        json!(self)
    }
}

impl Applying {
    fn of(part: &Part, kind: &LimitKind, prefix: Option<&str>) -> Self {
        let (per, cost_from) = match kind {
            LimitKind::General(rule) => {
                let own = rule.cost != RuleCost::Request;
                (words::per(&rule.per), own.then(|| words::cost(&rule.cost)))
            }
            LimitKind::Default | LimitKind::Endpoint => (words::per(&Per::Client), None),
        };
        Self {
            name: part.limit.name().to_owned(),
            kind: kind_word(kind),
            cost_from,
            terms: Terms::of(part),
            bucket: Bucket::of(part, per, prefix),
        }
    }
}

const fn kind_word(kind: &LimitKind) -> &'static str {
    match kind {
        LimitKind::Default => "default",
        LimitKind::Endpoint => "endpoint",
        LimitKind::General(_) => "general",
    }
}

/// Returns the stable name of an obstacle.
fn reason(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Exempt => "exempt",
        Obstacle::Tier(_) => "tier",
        Obstacle::NotBelow | Obstacle::Path(_) => "path",
        Obstacle::MoreSpecific(_) => "more_specific_endpoint",
        Obstacle::InPlaceOfDefault(_) => "other_limit",
        Obstacle::Method(_) => "method",
        Obstacle::Header(_) => "header",
        Obstacle::NoSubject => "no_subject",
        Obstacle::NotFollowed => "not_followed",
        Obstacle::Unreadable(_) => "unreadable",
        _ => "other",
    }
}

/// Returns an obstacle in words.
fn because(obstacle: &Obstacle, kind: &LimitKind) -> String {
    match obstacle {
        Obstacle::Exempt => "the path is exempt".to_owned(),
        Obstacle::Tier(tiers) => {
            let name = |tier: &Option<String>| {
                tier.as_ref().map_or("without a tier".to_owned(), |tier| format!("of tier {tier}"))
            };
            let tiers: Vec<String> = tiers.iter().map(name).collect();
            format!("only clients {} have it", AnyOf(&tiers))
        }
        Obstacle::NotBelow => "the path is not at or below it".to_owned(),
        Obstacle::MoreSpecific(other) => format!("{other} covers the path more specifically"),
        Obstacle::InPlaceOfDefault(other) => format!("{other} applies in its place"),
        Obstacle::Method(methods) => format!("the method is not {}", AnyOf(methods)),
        Obstacle::Path(patterns) => format!("the path does not match {}", AnyOf(patterns)),
        Obstacle::Header(header) if header.values.is_empty() => {
            format!("the request has no header {}", header.name)
        }
        Obstacle::Header(header) => {
            format!("the header {} is not {}", header.name, AnyOf(&header.values))
        }
        Obstacle::NoSubject => match kind {
            LimitKind::General(rule) => match &rule.per {
                Per::Address => "it is per address, and none is known: add --ip".to_owned(),
                per => format!("it is per {}, which the request does not have", words::per(per)),
            },
            LimitKind::Default | LimitKind::Endpoint => "there is no client".to_owned(),
        },
        Obstacle::NotFollowed => "without a `gateway`, nothing sees the end of the request: only \
                                  /v1/reserve takes from it"
            .to_owned(),
        Obstacle::Unreadable(error) => format!("it is in shadow mode, and: {error}"),
        _ => "another reason".to_owned(),
    }
}
