//! The JSON of reservations.

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;
use sluice::{Cost, MicroUnits, TokenUsage, Usage};
use sluice_core::Prices;
use sluice_http::Problem;
use utoipa::ToSchema;

use super::super::check::{AttributesBody, CheckBody, CostBody, Text, attributes, invalid};

/// The longest id of a hold, in bytes.
const MAX_ID_BYTES: usize = 256;
/// The longest name of a model, in bytes, as in events.
const MAX_MODEL_BYTES: usize = 128;
/// The shortest time for which tokens are held.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
/// The most money that one request may cost.
const MAX_MONEY: MicroUnits = MicroUnits::new(Cost::MAX.tokens());

/// The body of `POST /v1/reserve`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reserve, description = "A request, and what it will use. `client` or `ip` identifies \
                                      the client.")]
pub(crate) struct ReserveBody<'a> {
    /// The client: an API key, a user name, or any other name. Without it, `ip` is the client.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    client: Option<Text<'a>>,
    /// The method of the request to decide about; `GET` by default.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
    method: Option<Text<'a>>,
    /// The path of the request to decide about; `/` by default. A query is ignored.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^/")]
    path: Option<Text<'a>>,
    /// The client's address, for limits per address.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    /// The client's tier; the caller is trusted to know it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    tier: Option<Text<'a>>,
    #[serde(borrow)]
    #[schema(schema_with = attributes)]
    attributes: Option<AttributesBody<'a>>,
    /// The model whose tokens the request will use: `costs.llm` has its prices.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    model: Option<Text<'a>>,
    /// What the request will use at most, as far as that can be estimated.
    costs: CostsBody,
    /// How long to hold it, as in `90s`; as long as the limits allow by default.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    hold_for: Option<Text<'a>>,
    /// A name for the hold. The same id of the same client is the same hold: a reservation that is
    /// sent again takes nothing.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    id: Option<Text<'a>>,
}

/// The body of `POST /v1/extend`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Extend, description = "A reservation, and what the request will use in addition.")]
pub(crate) struct ExtendBody<'a> {
    /// The text that `/v1/reserve` or `/v1/extend` returned last.
    #[serde(borrow)]
    #[schema(value_type = String)]
    reservation: Text<'a>,
    /// What the request will use in addition.
    costs: CostsBody,
}

/// The body of `POST /v1/settle`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Settle, description = "A reservation, and what the request has used in all.")]
pub(crate) struct SettleBody<'a> {
    /// The text that `/v1/reserve` or `/v1/extend` returned last.
    #[serde(borrow)]
    #[schema(value_type = String)]
    reservation: Text<'a>,
    /// What the request has used in all; nothing gives all back.
    costs: CostsBody,
}

/// What a request uses.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Costs)]
pub(crate) struct CostsBody {
    /// What the request costs under limits that count requests; 1 by default. It is final, so only
    /// a reservation may say it.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    requests: Option<CostBody>,
    /// Tokens that the model reads, those of the next two members included.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    input_tokens: Option<CostBody>,
    /// Tokens among `input_tokens` that the model has in its cache.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    cached_input_tokens: Option<CostBody>,
    /// Tokens among `input_tokens` that it writes to its cache.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    cache_write_tokens: Option<CostBody>,
    /// Tokens that the model generates.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    output_tokens: Option<CostBody>,
    /// Money, in units of the currency of `costs`; by default what the tokens of the model cost.
    #[schema(minimum = 0)]
    cost: Option<f64>,
}

// === impl ReserveBody ===

impl<'a> ReserveBody<'a> {
    pub(super) fn model(&self) -> Result<Option<&str>, Problem> {
        text_within(self.model.as_ref(), "model", MAX_MODEL_BYTES)
    }

    pub(super) fn id(&self) -> Result<Option<&str>, Problem> {
        text_within(self.id.as_ref(), "id", MAX_ID_BYTES)
    }

    pub(super) const fn costs(&self) -> &CostsBody {
        &self.costs
    }

    pub(super) fn hold_for(&self) -> Result<Option<Duration>, Problem> {
        let Some(Text(text)) = &self.hold_for else { return Ok(None) };
        match humantime::parse_duration(text) {
            Ok(hold_for) if hold_for >= SHORTEST_HOLD => Ok(Some(hold_for)),
            Ok(_) => Err(invalid("hold_for", "too short: at least 1s")),
            Err(_) => Err(invalid("hold_for", "no time: send one with its unit, as in `90s`")),
        }
    }

    /// Returns the check of the request, which costs `requests` under limits that count these.
    pub(super) fn into_check(self, requests: Cost) -> CheckBody<'a> {
        let Self { client, method, path, ip, tier, attributes, .. } = self;
        CheckBody { client, method, path, ip, tier, attributes, cost: Some(CostBody(requests)) }
    }
}

/// Returns the text of a member that is not empty and not too long.
fn text_within<'t>(
    text: Option<&'t Text<'_>>,
    field: &str,
    most: usize,
) -> Result<Option<&'t str>, Problem> {
    match text {
        Some(Text(text)) if text.is_empty() || text.len() > most => {
            Err(invalid(field, format_args!("send 1 to {most} bytes")))
        }
        text => Ok(text.map(|Text(text)| &**text)),
    }
}

// === impl ExtendBody and SettleBody ===

impl ExtendBody<'_> {
    pub(super) fn reservation(&self) -> &str {
        &self.reservation.0
    }

    pub(super) const fn costs(&self) -> &CostsBody {
        &self.costs
    }
}

impl SettleBody<'_> {
    pub(super) fn reservation(&self) -> &str {
        &self.reservation.0
    }

    pub(super) const fn costs(&self) -> &CostsBody {
        &self.costs
    }
}

// === impl CostsBody ===

impl CostsBody {
    /// Returns what the request costs, and what it will use.
    pub(super) fn estimate(
        &self,
        model: Option<&str>,
        prices: &Prices,
    ) -> Result<(Cost, Usage), Problem> {
        let requests = self.requests.map_or(Cost::ONE, |CostBody(cost)| cost);
        Ok((requests, self.usage(model, prices)?))
    }

    /// Returns what the request uses, in addition or in the end.
    pub(super) fn later_usage(
        &self,
        model: Option<&str>,
        prices: &Prices,
    ) -> Result<Usage, Problem> {
        if self.requests.is_some() {
            let what = "what a request costs is final once it is reserved: leave it out";
            return Err(invalid("costs.requests", what));
        }
        let usage = self.usage(model, prices)?;
        // Nothing costs nothing, whatever its price.
        let is_nothing = usage.tokens == TokenUsage::default() && self.cost.is_none();
        Ok(if is_nothing { usage.with_money(Some(MicroUnits::default())) } else { usage })
    }

    fn usage(&self, model: Option<&str>, prices: &Prices) -> Result<Usage, Problem> {
        let tokens = |cost: Option<CostBody>| cost.map_or(0, |CostBody(cost)| cost.tokens());
        let consumed = TokenUsage::new(tokens(self.input_tokens), tokens(self.output_tokens));
        let tokens = consumed
            .with_cache(tokens(self.cached_input_tokens), tokens(self.cache_write_tokens))
            .map_err(|error| invalid("costs.input_tokens", error))?;
        let money = match self.cost {
            Some(cost) => Some(
                MicroUnits::rounded_up(cost, MAX_MONEY)
                    .map_err(|error| invalid("costs.cost", format_args!("{cost} {error}")))?,
            ),
            None => model.and_then(|model| prices.of_tokens(model, &tokens)),
        };
        Ok(Usage::of_tokens(tokens).with_money(money))
    }
}
