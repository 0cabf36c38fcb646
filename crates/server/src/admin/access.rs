//! Credentials for metrics and monitoring.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

use sluice_config::{Credentials, Secret};
use sluice_http::{Problem, ProblemKind};
use subtle::ConstantTimeEq;

/// Lets requests with the configured credentials pass, or every request if there are none. Cheap to
/// clone; clones share the credentials.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    active: Arc<ArcSwap<Credentials>>,
}

impl Access {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { active: Arc::new(ArcSwap::from_pointee(credentials)) }
    }

    /// Replaces the credentials.
    pub(crate) fn replace(&self, credentials: Credentials) {
        self.active.store(Arc::new(credentials));
    }

    /// Returns whether no credentials are required.
    pub(crate) fn is_open(&self) -> bool {
        let Credentials { basic, bearer } = &**self.active.load();
        basic.is_none() && bearer.is_none()
    }

    /// Passes a request on, or responds with status 401.
    pub(crate) async fn guard(
        State(access): State<Self>,
        request: Request,
        next: Next,
    ) -> Response {
        let credentials = access.active.load_full();
        if may_pass(&credentials, request.headers()) {
            next.run(request).await
        } else {
            reject(&credentials)
        }
    }
}

fn may_pass(credentials: &Credentials, headers: &HeaderMap) -> bool {
    let Credentials { basic, bearer } = credentials;
    if basic.is_none() && bearer.is_none() {
        return true;
    }
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
    let Some((scheme, value)) = shown.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return bearer.as_ref().is_some_and(|token| is_same(token, value.as_bytes()));
    }
    let Some((user, password)) = basic.as_ref().filter(|_| scheme.eq_ignore_ascii_case("basic"))
    else {
        return false;
    };
    let Ok(decoded) = STANDARD.decode(value) else { return false };
    let Some(colon) = decoded.iter().position(|&byte| byte == b':') else { return false };
    // Both are compared, so that the time does not reveal which one was wrong.
    let user_fits = is_same(&Secret::new(user), &decoded[..colon]);
    is_same(password, &decoded[colon + 1..]) & user_fits
}

/// Returns whether `shown` is the secret, in a time that does not depend on the bytes of either.
fn is_same(secret: &Secret, shown: &[u8]) -> bool {
    secret.reveal().as_bytes().ct_eq(shown).into()
}

fn reject(credentials: &Credentials) -> Response {
    let mut response = Problem::new(
        ProblemKind::Unauthorized,
        "metrics and monitoring require the credentials of `admin`",
    )
    .into_response();
    let schemes = [
        credentials.basic.is_some().then_some(r#"Basic realm="sluice", charset="UTF-8""#),
        credentials.bearer.is_some().then_some(r#"Bearer realm="sluice""#),
    ];
    for scheme in schemes.into_iter().flatten() {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { basic, bearer } = &**self.active.load();
        f.write_str(match (basic.is_some(), bearer.is_some()) {
            (false, false) => "open",
            (true, false) => "basic",
            (false, true) => "bearer",
            (true, true) => "basic or bearer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            basic: Some(("prometheus".into(), Secret::new("pass:word"))),
            bearer: Some(Secret::new("t0ken")),
        }
    }

    fn passes(credentials: &Credentials, shown: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in shown {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        may_pass(credentials, &headers)
    }

    #[test]
    fn either_credential_is_sufficient() {
        let basic = format!("Basic {}", STANDARD.encode("prometheus:pass:word"));
        for shown in [basic.as_str(), "Bearer t0ken", "bearer  t0ken"] {
            assert!(passes(&credentials(), &[shown]), "{shown}");
            assert!(
                passes(&Credentials::default(), &[shown]),
                "{shown}: no credentials are required"
            );
        }
        assert!(passes(&Credentials::default(), &[]));
        assert!(!passes(&Credentials { bearer: None, ..credentials() }, &["Bearer t0ken"]));
        assert!(!passes(&Credentials { basic: None, ..credentials() }, &[&basic]));
    }

    #[test]
    fn other_credentials_are_rejected() {
        let wrong = [
            "prometheus:pass",
            "prometheus:pass:word:",
            "prometheus",
            ":pass:word",
            "prometheus:",
            "grafana:pass:word",
        ];
        let wrong = wrong.map(|text| format!("Basic {}", STANDARD.encode(text)));
        let others = [
            "Bearer",
            "Bearer ",
            "Bearer t0ke",
            "Bearer t0ken2",
            "t0ken",
            "Basic %%%",
            "Digest t0ken",
            "",
        ];
        for shown in wrong.iter().map(String::as_str).chain(others) {
            assert!(!passes(&credentials(), &[shown]), "{shown}");
        }
        assert!(!passes(&credentials(), &[]));
        assert!(
            !passes(&credentials(), &["Bearer t0ken", "Bearer t0ken"]),
            "two credentials are ambiguous"
        );
    }
}
