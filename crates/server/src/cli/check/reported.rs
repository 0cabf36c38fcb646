//! Reads a replica's response to a check.

use serde_json::{Value, json};

use super::exchange::Response;
use crate::cli::printable::printable;

/// A decision, as a replica reports it.
pub(super) struct Reported {
    response: Response,
    /// The body of the response.
    pub(super) body: Value,
    is_allowed: bool,
}

impl Reported {
    /// Reads the decision in `response`. With `has_token`, a token was sent.
    ///
    /// # Errors
    /// What is wrong, when it has none.
    pub(super) fn read(response: Response, has_token: bool) -> Result<Self, String> {
        let body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
        let detail = || {
            let detail = body["detail"].as_str().map(|detail| printable(detail).into_owned());
            detail.unwrap_or_else(|| shortened(&response.body))
        };
        let status = response.status;
        match (status, body["allowed"].as_bool()) {
            (200 | 429, Some(is_allowed)) => Ok(Self { response, body, is_allowed }),
            (401, _) if has_token => Err("status 401: the token that was sent is not one of the \
                                          replica's access.tokens"
                .to_owned()),
            (401, _) => {
                Err("status 401: the replica requires a token of access.tokens: set the variable \
                 SLUICE_TOKEN, or name a file with --token-file"
                    .to_owned())
            }
            (404, _) => {
                Err("status 404: /v1/check is not there. It may be the admin port, a gateway \
                 without `gateway.doors: on`, or another program"
                    .to_owned())
            }
            (400..=499, _) => Err(format!("status {status}: the check is rejected: {}", detail())),
            (500..=599, _) => Err(format!("status {status}: no decision: {}", detail())),
            _ => Err(format!("status {status} without a decision: is this a replica of Sluice?")),
        }
    }

    /// Returns whether the request is allowed.
    pub(super) const fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// Returns the fields that report the decision.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.response.fields.iter().map(|(name, value)| (&**name, &**value));
        fields.filter(|(name, _)| {
            name.starts_with("x-ratelimit-")
                || name.starts_with("ratelimit")
                || *name == "retry-after"
        })
    }

    /// Returns in how many seconds the bucket of the binding limit is full: by the replica's
    /// clock, which may differ from this machine's.
    pub(super) fn full_in_seconds(&self) -> Option<u64> {
        let (_, state) = self.fields().find(|(name, _)| *name == "ratelimit")?;
        let (_, parameters) = state.strip_prefix('"')?.split_once('"')?;
        let first = parameters.split(',').next()?;
        first.split(';').find_map(|parameter| parameter.strip_prefix("t="))?.parse().ok()
    }

    /// Returns the response as JSON.
    pub(super) fn to_json(&self) -> Value {
        let fields = self.fields().map(|(name, value)| (name.to_owned(), json!(value)));
        json!({
            "status": self.response.status,
            "allowed": self.is_allowed,
            "headers": Value::Object(fields.collect()),
            "body": self.body,
        })
    }
}

/// Returns the first line of a text, and no more than fits one line of a terminal.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(status: u16, fields: &[(&str, &str)], body: &str) -> Result<Reported, String> {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Reported::read(Response { status, fields: fields.collect(), body: body.to_owned() }, false)
    }

    #[test]
    fn a_decision_is_read_and_anything_else_says_why_there_is_none() {
        let fields = [("ratelimit", "\"a;t=9, b\";r=3;t=7, \"c\";r=1;t=2"), ("server", "x")];
        let read =
            reported(200, &fields, r#"{"allowed": true}"#).unwrap_or_else(|why| panic!("{why}"));
        assert!(read.is_allowed());
        assert_eq!((read.full_in_seconds(), read.fields().count()), (Some(7), 1));
        for (status, body, expected) in [
            (200, "<html>", "is this a replica of Sluice?"),
            (401, "", "SLUICE_TOKEN"),
            (404, "", "/v1/check is not there"),
            (400, r#"{"detail": "path: wrong"}"#, "the check is rejected: path: wrong"),
            (400, "This port speaks TLS\nmore", "rejected: This port speaks TLS"),
            (503, r#"{"detail": "away"}"#, "status 503: no decision: away"),
            (301, "", "status 301 without a decision"),
        ] {
            let error = reported(status, &[], body).err().unwrap_or_default();
            assert!(error.ends_with(expected) || error.contains(expected), "{status}: {error}");
        }
    }
}
