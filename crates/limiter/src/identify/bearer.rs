//! Reads bearer tokens (RFC 6750), and the subjects of those that are JSON Web Tokens (RFC 7519).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use serde_json::Value;
use sluice_core::RequestError;

use super::fields::{self, Headers};

const SCHEME: &[u8] = b"bearer";

/// Returns the bearer token.
pub(super) fn token(headers: Headers<'_>) -> Result<Option<&[u8]>, RequestError> {
    let credentials = fields::identifying(headers, &AUTHORIZATION)?;
    Ok(credentials.and_then(bearer).filter(|token| !token.is_empty()))
}

/// Returns the issuer and subject of the bearer token, with a line break between them, which no
/// header can hold. Returns the whole token when it has no readable subject.
pub(super) fn subject(headers: Headers<'_>) -> Result<Option<Cow<'_, [u8]>>, RequestError> {
    let token = token(headers)?;
    Ok(token.map(|token| {
        claimed(token).map_or(Cow::Borrowed(token), |subject| Cow::Owned(subject.into_bytes()))
    }))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.trim_ascii().split_at_checked(SCHEME.len())?;
    (scheme.eq_ignore_ascii_case(SCHEME) && token.first().is_some_and(u8::is_ascii_whitespace))
        .then_some(token.trim_ascii())
}

fn claimed(token: &[u8]) -> Option<String> {
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, claims, _signature, None) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let issuer = match claims.get("iss") {
        None => "",
        Some(issuer) => issuer.as_str()?,
    };
    let subject = claims.get("sub")?.as_str()?;
    // Otherwise two tokens could name different clients by the same text.
    let distinct = !subject.is_empty() && !issuer.contains('\n');
    distinct.then(|| format!("{issuer}\n{subject}"))
}
