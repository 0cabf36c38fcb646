//! `llm: { routes: [{ path: /v1/chat/completions, speaks: openai }], body: 4MiB,
//! models: { MODEL: { default_output: 4096 } } }`.

use std::collections::HashMap;

use sluice_core::{Cost, PathPattern};
use sluice_llm::{Hold, Vendor};

use crate::{
    error::Refused,
    reader::{Field, Place, Table},
    settings::{LlmModel, LlmRoute, LlmSettings},
};

use super::costs;

/// More than a long conversation, and few enough bytes to be in memory for many requests.
const BODY: usize = 4 << 20;
const SMALLEST_BODY: usize = 1 << 10;
const LARGEST_BODY: usize = 64 << 20;
/// As long as most answers are at most.
const DEFAULT_OUTPUT: u64 = 1_024;
const MAX_ROUTES: usize = 100;

/// Reads the section, which needs a gateway.
pub(super) fn read(
    field: &Field<'_>,
    has_gateway: Option<bool>,
) -> Result<Option<LlmSettings>, Refused> {
    let settings = field.optional(|field| field.table(section))?;
    if settings.is_some() && has_gateway == Some(false) {
        return Err(field.refuse(
            "only a gateway forwards requests to models: write \
             `gateway: { upstream: \"https://...\" }`, or remove the section",
        ));
    }
    Ok(settings)
}

fn section(llm: &Table<'_>) -> Result<LlmSettings, Refused> {
    let routes = llm
        .field("routes")
        .required("write `routes: [{ path: /v1/chat/completions, speaks: openai }]`")
        .and_then(|field| routes(&field));
    let body = llm.field("body").or(BODY, |field| field.parse_with(size));
    let models = llm.field("models").or(HashMap::new(), |models| {
        let models = costs::names(models, "models", model)?;
        Ok(models.into_iter().map(|(name, model)| (name.into(), model)).collect())
    });
    let default_output = llm.field("default_output").or(DEFAULT_OUTPUT, tokens);
    let hold = [("typical", Hold::Typical), ("max", Hold::Max)];
    let hold = llm.field("hold").or(Hold::Typical, |field| field.choice(&hold));
    Ok(LlmSettings {
        routes: routes?,
        body: body?,
        models: models?,
        default_output: default_output?,
        hold: hold?,
    })
}

fn model(model: &Table<'_>) -> Result<LlmModel, Refused> {
    let default_output = model
        .field("default_output")
        .required("write the tokens of an answer whose request states no limit")
        .and_then(|field| tokens(&field))?;
    Ok(LlmModel { default_output })
}

fn tokens(field: &Field<'_>) -> Result<u64, Refused> {
    field.integer(1..=Cost::MAX.tokens())
}

fn routes(field: &Field<'_>) -> Result<Vec<LlmRoute>, Refused> {
    let mut seen: Vec<(LlmRoute, Place)> = Vec::new();
    let routes = field.items(|item| {
        let (place, route) = (item.place(), item.table(route)?);
        match seen.iter().find(|(first, _)| *first == route) {
            Some((_, first)) => item.warn(format_args!(
                "has no effect: {} ({}) is the same route. Remove one of them",
                first.path, first.origin
            )),
            None => seen.push((route.clone(), place)),
        }
        Ok(route)
    })?;
    match routes.len() {
        0 => Err(field.refuse(
            "names no route: write `{ path: /v1/chat/completions, speaks: openai }`, or remove \
             the section",
        )),
        1..=MAX_ROUTES => Ok(routes),
        count => Err(field.refuse(format_args!(
            "{count} routes are too many: at most {MAX_ROUTES} are possible. One pattern covers \
             several paths, as in `/v1/**`"
        ))),
    }
}

fn route(route: &Table<'_>) -> Result<LlmRoute, Refused> {
    let path = route
        .field("path")
        .required("write a path or a pattern, as in `/v1/chat/completions` or `/v1/**`")
        .and_then(|field| {
            let pattern = field.parse_with(PathPattern::parse)?;
            Ok((field, pattern))
        });
    let vendors = Vendor::ALL.map(|vendor| (vendor.as_str(), vendor));
    let speaks = route
        .field("speaks")
        .required("write whose wire format it is: `openai`, `anthropic` or `gemini`")
        .and_then(|field| field.choice(&vendors));
    let ((field, path), speaks) = (path?, speaks?);
    let text = path.to_string();
    if !text.contains('*') && speaks.call(&text).is_none() {
        field.warn(format_args!(
            "no request of `{speaks}` that uses tokens has this path, so that the route has no \
             effect: write a path such as `{}`, or a pattern such as `/v1/**`",
            usual_path(speaks)
        ));
    }
    Ok(LlmRoute { path, speaks })
}

const fn usual_path(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::OpenAi => "/v1/chat/completions",
        Vendor::Anthropic => "/v1/messages",
        Vendor::Gemini => "/v1beta/models/*",
    }
}

/// Reads a number of bytes: `4MiB`.
fn size(text: &str) -> Result<usize, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_start() {
        "KiB" => Some(10),
        "MiB" => Some(20),
        _ => None,
    };
    let bytes = number.parse::<usize>().ok().zip(shift).and_then(|(number, shift)| {
        number
            .checked_mul(1 << shift)
            .filter(|bytes| (SMALLEST_BODY..=LARGEST_BODY).contains(bytes))
    });
    bytes.ok_or_else(|| {
        format!("`{text}` is not a possible size: write a whole number from `1KiB` to `64MiB`")
    })
}
