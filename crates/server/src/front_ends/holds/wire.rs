//! The JSON of reservations.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
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
    #[serde(deserialize_with = "costs")]
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
    #[serde(deserialize_with = "costs")]
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
    #[serde(deserialize_with = "costs")]
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
    #[schema(value_type = Option<f64>, minimum = 0)]
    cost: Option<MoneyBody>,
}

/// An amount of money.
#[derive(Clone, Copy, Debug)]
struct MoneyBody(f64);

/// Reads what a request uses from an object alone. serde would also accept an array of the members'
/// values.
fn costs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CostsBody, D::Error> {
    struct CostsVisitor;

    impl<'de> Visitor<'de> for CostsVisitor {
        type Value = CostsBody;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"an object, as in `{ "input_tokens": 900, "output_tokens": 300 }`"#)
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<CostsBody, A::Error> {
            CostsBody::deserialize(MapAccessDeserializer::new(members))
        }
    }

    deserializer.deserialize_map(CostsVisitor)
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
            Some(MoneyBody(cost)) => Some(
                MicroUnits::rounded_up(cost, MAX_MONEY)
                    .map_err(|error| invalid("costs.cost", format_args!("{cost} {error}")))?,
            ),
            None => model.and_then(|model| prices.of_tokens(model, &tokens)),
        };
        Ok(Usage::of_tokens(tokens).with_money(money))
    }
}

// === impl MoneyBody ===

impl<'de> Deserialize<'de> for MoneyBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MoneyVisitor;

        impl Visitor<'_> for MoneyVisitor {
            type Value = MoneyBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, as in 0.02")
            }

            fn visit_f64<E: de::Error>(self, amount: f64) -> Result<MoneyBody, E> {
                Ok(MoneyBody(amount))
            }

            #[expect(clippy::cast_precision_loss, reason = "the largest amount is below 2^53")]
            fn visit_u64<E: de::Error>(self, amount: u64) -> Result<MoneyBody, E> {
                Ok(MoneyBody(amount as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "no negative amount is accepted")]
            fn visit_i64<E: de::Error>(self, amount: i64) -> Result<MoneyBody, E> {
                Ok(MoneyBody(amount as f64))
            }
        }

        deserializer.deserialize_f64(MoneyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use sluice_http::body;

    use super::*;

    fn wrong(costs: &str) -> String {
        let text = format!(r#"{{"reservation": "x", "costs": {costs}}}"#);
        let problem = body::parse::<SettleBody<'_>>(text.as_bytes()).map(|_| ()).unwrap_err();
        serde_json::to_value(problem.body()).unwrap()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn costs_are_an_object_and_money_is_a_number() {
        let object = "must be an object, as in `{ \"input_tokens\": 900, \"output_tokens\": 300 }`";
        for (costs, expected) in [
            ("[]", format!("costs: {object}, not an array")),
            ("[0, 5, 0, 0, 5, null]", format!("costs: {object}, not an array")),
            ("7", format!("costs: {object}, not the number 7")),
            (
                r#"{"cost": "0.02"}"#,
                "costs.cost: must be a number, as in 0.02, not the string \"0.02\"".to_owned(),
            ),
            (r#"{"input": 1}"#, "costs.input: unknown field `input`, expected one of".to_owned()),
        ] {
            let problem = wrong(costs);
            assert!(problem.starts_with(&expected), "{problem}");
        }
        for (cost, expected) in [("2", Some(2.0)), ("0.5", Some(0.5)), ("null", None)] {
            let text = format!(r#"{{"reservation": "x", "costs": {{"cost": {cost}}}}}"#);
            let body: SettleBody<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(body.costs.cost.map(|MoneyBody(cost)| cost), expected);
        }
        assert!(body::parse::<SettleBody<'_>>(br#"{"reservation": "x"}"#).is_err());
    }
}
