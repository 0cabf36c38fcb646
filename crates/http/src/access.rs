//! Who may use the front ends: callers that show one of the tokens of `access.tokens`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::response::Response;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};

use crate::{Problem, ProblemKind};

/// The field that holds nothing but a token of Sluice. It is never forwarded.
pub const TOKEN_FIELD: HeaderName = HeaderName::from_static("x-sluice-token");

type Hash = [u8; SHA256_OUTPUT_LEN];

/// Lets callers pass that show one of the tokens, or every caller if there are no tokens. Cheap to
/// clone; clones share the tokens.
#[derive(Clone, Debug, Default)]
pub struct CallerAccess {
    /// Hashes, so that comparing takes the same time for every token, however long.
    tokens: Arc<ArcSwap<Box<[Hash]>>>,
}

/// The fields in which a front end reads a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFields {
    /// `X-Sluice-Token`, or in its absence `Authorization: Bearer`.
    Both,
    /// `X-Sluice-Token` alone: `Authorization` belongs to the client that the caller asks about.
    OwnAlone,
}

/// A request that shows no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    fields: TokenFields,
}

// === impl CallerAccess ===

impl CallerAccess {
    /// Grants access to whoever shows one of `tokens`.
    pub fn new<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Self {
        let access = Self::default();
        access.replace(tokens);
        access
    }

    /// Replaces the tokens for every request that starts from now on.
    pub fn replace<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let hashes = tokens.into_iter().map(|token| hash(token.as_bytes()));
        self.tokens.store(Arc::new(hashes.collect()));
    }

    /// Returns whether a token is required.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.tokens.load().is_empty()
    }

    /// Checks the token in `headers`, and removes every token, so that nothing later takes one for
    /// the client's.
    ///
    /// # Errors
    /// Returns an error if a token is required and `headers` show no valid one.
    pub fn admit(&self, headers: &mut HeaderMap, fields: TokenFields) -> Result<(), Rejected> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            headers.remove(TOKEN_FIELD);
            return Ok(());
        }
        let result = if headers.contains_key(TOKEN_FIELD) {
            let shown = only(headers, &TOKEN_FIELD);
            shown.is_some_and(|token| is_one_of(&tokens, token)).then_some(()).ok_or(())
        } else if fields == TokenFields::Both {
            let shown = only(headers, &AUTHORIZATION).and_then(bearer);
            shown.is_some_and(|token| is_one_of(&tokens, token)).then_some(()).ok_or(())
        } else {
            Err(())
        };
        match fields {
            TokenFields::Both => self.forget(headers),
            TokenFields::OwnAlone => drop(headers.remove(TOKEN_FIELD)),
        }
        result.map_err(|()| Rejected { fields })
    }

    /// Removes every token from `headers`, so that none is forwarded or taken for the client's.
    pub fn forget(&self, headers: &mut HeaderMap) {
        headers.remove(TOKEN_FIELD);
        let tokens = self.tokens.load();
        let is_token = |line: &HeaderValue| {
            bearer(line.as_bytes().trim_ascii()).is_some_and(|token| is_one_of(&tokens, token))
        };
        if !tokens.is_empty() && headers.get_all(AUTHORIZATION).iter().any(is_token) {
            headers.remove(AUTHORIZATION);
        }
    }
}

/// Returns the value of `name`, if the field is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line.as_bytes().trim_ascii()),
        _ => None,
    }
}

/// Returns the token in the value of `Authorization`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Returns whether `shown` is one of the tokens. All are compared, so that the time does not reveal
/// which one was nearly shown.
fn is_one_of(tokens: &[Hash], shown: &[u8]) -> bool {
    let shown = hash(shown);
    let found = tokens.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(&shown));
    found.into()
}

fn hash(token: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

// === impl Rejected ===

impl Rejected {
    /// Returns what is wrong and what would be right.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self.fields {
            TokenFields::Both => {
                "a token of `access.tokens` is required: send it as `X-Sluice-Token: TOKEN` or \
                 `Authorization: Bearer TOKEN`"
            }
            TokenFields::OwnAlone => {
                "a token of `access.tokens` is required: send it as `X-Sluice-Token: TOKEN`, since \
                 `Authorization` is the client's here"
            }
        }
    }

    /// Returns the response of status 401.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = Problem::new(ProblemKind::Unauthorized, self.detail()).into_response();
        let challenge = HeaderValue::from_static(r#"Bearer realm="sluice""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 2] = ["the-first-token", "t0"];

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn is_admitted(fields: &[(&'static str, &str)], read: TokenFields) -> bool {
        let mut headers = headers(fields);
        let result = CallerAccess::new(TOKENS).admit(&mut headers, read);
        assert!(!headers.contains_key(TOKEN_FIELD), "the token goes no further");
        result.is_ok()
    }

    #[test]
    fn every_token_is_forgotten_and_what_is_none_is_kept() {
        let left = |fields: &[(&'static str, &str)]| {
            let mut headers = headers(fields);
            CallerAccess::new(TOKENS).forget(&mut headers);
            headers.len()
        };
        assert_eq!(left(&[("x-sluice-token", "t0"), ("authorization", "Bearer t0")]), 0);
        assert_eq!(left(&[("x-sluice-token", "no-token")]), 0);
        assert_eq!(left(&[("authorization", "Bearer of-the-client")]), 1);
        assert_eq!(left(&[("authorization", "Basic dDA6")]), 1);
    }

    #[test]
    fn each_token_grants_access_in_either_field() {
        for token in TOKENS {
            let bearer = format!("Bearer {token}");
            for fields in [
                [("x-sluice-token", token)],
                [("authorization", bearer.as_str())],
                [("authorization", &bearer.to_lowercase())],
                [("authorization", &bearer.replace(' ', "   "))],
            ] {
                assert!(is_admitted(&fields, TokenFields::Both), "{fields:?}");
            }
        }
    }

    #[test]
    fn other_values_grant_nothing() {
        let first = TOKENS[0];
        let basic = format!("Basic {first}");
        let lines: [&[(&str, &str)]; 12] = [
            &[],
            &[("x-sluice-token", "")],
            &[("x-sluice-token", "the-first-toke")],
            &[("x-sluice-token", "the-first-token-")],
            &[("x-sluice-token", "The-First-Token")],
            &[("x-sluice-token", "Bearer t0")],
            &[("x-sluice-token", "t0, t0")],
            &[("x-sluice-token", first), ("x-sluice-token", first)],
            &[("authorization", first)],
            &[("authorization", &basic)],
            &[("authorization", "Bearer t0"), ("authorization", "Bearer t0")],
            &[("x-sluice-token", "wrong"), ("authorization", "Bearer t0")],
        ];
        for fields in lines {
            assert!(!is_admitted(fields, TokenFields::Both), "{fields:?}");
        }
    }

    #[test]
    fn the_clients_own_authorization_is_left_alone() {
        assert!(!is_admitted(&[("authorization", "Bearer t0")], TokenFields::OwnAlone));
        let access = CallerAccess::new(TOKENS);
        let own = [("authorization", "Bearer of-the-client"), ("x-sluice-token", "t0")];
        for read in [TokenFields::Both, TokenFields::OwnAlone] {
            let mut headers = headers(&own);
            assert_eq!(access.admit(&mut headers, read), Ok(()));
            assert_eq!(headers["authorization"], "Bearer of-the-client");
        }
        let mut headers = headers(&[("authorization", "Bearer t0")]);
        assert_eq!(access.admit(&mut headers, TokenFields::Both), Ok(()));
        assert!(headers.is_empty(), "Sluice's token does not become the client's name");
    }

    #[test]
    fn without_tokens_everyone_passes_and_tokens_can_be_replaced() {
        let access = CallerAccess::default();
        let mut none = HeaderMap::new();
        assert!(!access.is_limited() && access.admit(&mut none, TokenFields::Both).is_ok());
        access.replace(["a", "b"]);
        assert!(access.is_limited());
        let rejected = access.admit(&mut none, TokenFields::Both).unwrap_err();
        let response = rejected.into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"sluice\"");
        access.replace(["b"]);
        let mut old = headers(&[("x-sluice-token", "a")]);
        assert!(access.admit(&mut old, TokenFields::Both).is_err());
        assert!(!format!("{access:?}").contains("\"b\""));
    }
}
