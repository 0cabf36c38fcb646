//! Active health checks of the upstreams.

use std::sync::Arc;

use http::{
    HeaderValue, Request,
    header::{HOST, USER_AGENT},
};
use http_body_util::BodyExt;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    pool::Sender,
    request_body::RequestBody,
    upstream::{Health, Upstream},
};
use sluice_config::gateway::HealthChecks;

const NAME: HeaderValue = HeaderValue::from_static("sluice-health");

/// The running health checks. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Watch {
    _tasks: JoinSet<()>,
}

/// Starts to check the `upstreams`, each in a task of its own; does nothing without `checks`.
pub(crate) fn watch<'u>(
    upstreams: impl Iterator<Item = &'u Arc<Upstream>>,
    checks: Option<&HealthChecks>,
) -> Watch {
    let mut tasks = JoinSet::new();
    if let Some(checks) = checks {
        for upstream in upstreams {
            tasks.spawn(check_forever(Arc::clone(upstream), checks.clone()));
        }
    }
    Watch { _tasks: tasks }
}

async fn check_forever(upstream: Arc<Upstream>, checks: HealthChecks) {
    let mut rounds = interval(checks.interval);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0_u32, 0_u32);
    loop {
        rounds.tick().await;
        let answered = timeout(checks.timeout, check(&upstream, &checks))
            .await
            .unwrap_or_else(|_| Err("no response within the timeout".into()));
        let why = match answered {
            Ok(()) => {
                (good, bad) = (good.saturating_add(1), 0);
                None
            }
            Err(why) => {
                (good, bad) = (0, bad.saturating_add(1));
                Some(why)
            }
        };
        if good >= checks.healthy_after && upstream.set_health(Health::Healthy) {
            tracing::info!(upstream = %upstream.url(), "upstream is healthy again");
        }
        if let Some(why) = why.filter(|_| bad >= checks.unhealthy_after)
            && upstream.set_health(Health::Unhealthy)
        {
            tracing::warn!(
                upstream = %upstream.url(),
                error = &*why,
                "upstream is unhealthy: it gets no requests until it passes its health checks"
            );
        }
    }
}

async fn check(
    upstream: &Arc<Upstream>,
    checks: &HealthChecks,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let sender = upstream.pool().connection_for_check().await?;
    let url = upstream.url();
    let mut request = Request::new(RequestBody::empty());
    request.headers_mut().insert(USER_AGENT, NAME);
    let (response, connection) = match sender {
        Sender::Http1(mut connection, place) => {
            *request.uri_mut() = checks.path.clone();
            request.headers_mut().insert(HOST, HeaderValue::from_str(url.authority().as_str())?);
            (connection.sender.send_request(request).await?, Some((connection, place)))
        }
        Sender::Http2(mut sender, _stream) => {
            let mut uri = checks.path.clone().into_parts();
            (uri.scheme, uri.authority) =
                (Some(url.scheme().clone()), Some(url.authority().clone()));
            *request.uri_mut() = http::Uri::from_parts(uri)?;
            *request.version_mut() = http::Version::HTTP_2;
            (sender.send_request(request).await?, None)
        }
    };
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    if let Some((connection, place)) = connection {
        upstream.pool().release(connection, place);
    }
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("it responded with status {status}").into())
    }
}
