//! One request and its response at one upstream, over as many connections as it takes.
//!
//! A request is sent again only when that cannot make the upstream process it twice, or when
//! processing it twice does no harm:
//!
//! - The connection returned the request unsent, since the upstream had closed it.
//! - The upstream refused the request's HTTP/2 stream, or left the connection before it processed
//!   the stream (RFC 9113, section 8.7). Methods do not matter. The body is sent again from what is
//!   kept of it.
//! - The upstream left while the request waited for a free HTTP/2 stream. Its head may have been
//!   sent by then, but nothing of its body. Without a body, the method has to be idempotent.
//! - A connection that was used before broke without a byte of a response, and the request has an
//!   idempotent method and no body (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1). This is what
//!   an upstream looks like that closes idle connections. It is tried once more.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use sluice_config::gateway::GatewaySettings;
use sluice_telemetry::UpstreamFailure;
use tokio::time::{sleep, timeout_at};

use crate::{
    error::ForwardError,
    pool::{Acquired, NoConnection, Sender, Unwanted},
    request_body::{RequestBody, Upload, WaitsFor},
    upstream::Upstream,
    upstream_body::ConnectionInUse,
    upstream_request::UpstreamRequest,
};

/// How often a request is sent again to an upstream that refuses it.
const MAX_RESENDS: u32 = 3;

/// The pause before a refused request is sent again, multiplied by the number of refusals. An
/// upstream refuses requests while it has too many.
const REFUSAL_PAUSE: Duration = Duration::from_millis(5);

/// Why an upstream gave no response.
pub(crate) struct Failed {
    pub(crate) cause: ForwardError,
    /// Whether the request may be sent to another upstream.
    pub(crate) try_elsewhere: bool,
}

/// How an upstream declined to process a request.
#[derive(Clone, Copy)]
enum Declined {
    /// It takes no more requests on the connection.
    Leaving,
    /// It refused this request.
    Refused,
}

/// The outcome of sending a request: the response, or the error with the request if it is unsent.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

struct NoResponse {
    cause: ForwardError,
    unsent: Option<Request<RequestBody>>,
}

/// Sends a request to `upstream`, and returns the head of the response.
pub(crate) async fn send(
    settings: &GatewaySettings,
    upstream: &Arc<Upstream>,
    outgoing: &mut UpstreamRequest,
) -> Result<(Response<Incoming>, ConnectionInUse), Failed> {
    let in_flight = upstream.start_request();
    let upgrades = outgoing.wants_upgrade() && upstream.pool().can_upgrade();
    if !upgrades {
        // A server may ignore the request for an upgrade, and HTTP/2 cannot express it.
        outgoing.remove_upgrade();
    }
    let mut unwanted = Unwanted::default();
    let mut resends = 0;
    loop {
        let acquired = if upgrades {
            Box::pin(upstream.pool().upgradable_connection()).await
        } else {
            upstream.pool().connection(&unwanted).await
        };
        let Acquired { mut sender, is_reused } = acquired.map_err(|error| Failed {
            cause: match error {
                NoConnection::AllInUse => ForwardError::AllConnectionsInUse,
                NoConnection::Failed(error) => ForwardError::NotConnected(error),
            },
            try_elsewhere: true,
        })?;
        if !is_reused {
            upstream.stop_avoiding();
        }
        let is_repeatable = is_reused && outgoing.is_repeatable();
        let sent_at = Instant::now();
        let sent = match &mut sender {
            Sender::Http1(connection, _) => {
                let request = outgoing.over_http1(upstream.url(), is_repeatable);
                let before = connection.received.get();
                let sent = connection.sender.try_send_request(request);
                let sent = wait(settings, sent, outgoing.upload()).await;
                (sent, is_repeatable && connection.received.get() == before)
            }
            Sender::Http2(connection, _) => {
                let sent = connection.try_send_request(outgoing.over_http2(upstream.url()));
                (wait(settings, sent, outgoing.upload()).await, is_repeatable)
            }
        };
        let (NoResponse { cause, unsent }, is_repeatable) = match sent {
            (Ok(response), _) => {
                upstream.recorder().responded(response.status().as_u16(), sent_at.elapsed());
                return Ok((response, ConnectionInUse { in_flight, sender }));
            }
            (Err(no_response), is_repeatable) => (no_response, is_repeatable),
        };
        if let Sender::Http2(_, stream) = &sender {
            unwanted.shared.push(stream.connection());
        }
        if let Some(request) = unsent {
            outgoing.restore(request);
            // Others may have used up a new HTTP/2 connection by now.
            let is_shared = matches!(sender, Sender::Http2(..));
            if is_reused || (is_shared && resends < MAX_RESENDS) {
                resends += u32::from(!is_reused);
                continue;
            }
            return Err(Failed { cause, try_elsewhere: true });
        }
        let ForwardError::ConnectionBroke(error) = &cause else {
            return Err(Failed { cause, try_elsewhere: false });
        };
        match declined(error, &sender, outgoing) {
            Some(declined) if outgoing.can_be_sent_again() => {
                if resends == MAX_RESENDS {
                    return Err(Failed { cause, try_elsewhere: true });
                }
                resends += 1;
                if let (Declined::Leaving, Sender::Http2(_, stream)) = (declined, &sender) {
                    stream.retire_connection();
                }
                upstream.recorder().failed(UpstreamFailure::Resent);
                drop(sender);
                if matches!(declined, Declined::Refused) {
                    sleep(REFUSAL_PAUSE * resends).await;
                }
            }
            None if is_repeatable => {
                outgoing.note_repeat();
                unwanted.used = true;
                upstream.recorder().failed(UpstreamFailure::Resent);
            }
            _ => return Err(Failed { cause, try_elsewhere: false }),
        }
    }
}

/// Returns how the upstream declined the request, if this error says so.
fn declined(error: &hyper::Error, sender: &Sender, outgoing: &UpstreamRequest) -> Option<Declined> {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        // hyper drops the request that waits for a free stream when the upstream leaves, and then
        // reports an error of the user without the upstream's GOAWAY. It has not begun to read the
        // body, but h2 may have sent the head just before.
        let was_waiting = error.is_user() && matches!(sender, Sender::Http2(..));
        return (was_waiting && outgoing.can_follow_its_head()).then_some(Declined::Leaving);
    };
    if !error.is_remote() {
        return None;
    }
    // h2 reports a GOAWAY only for the streams after the last one that the upstream processes.
    if error.is_go_away() {
        return Some(Declined::Leaving);
    }
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    is_refused.then_some(Declined::Refused)
}

/// Waits for the head of the response until the timeouts that apply.
async fn wait(
    settings: &GatewaySettings,
    response: impl Future<Output = Sent>,
    upload: Option<&Arc<Upload>>,
) -> Result<Response<Incoming>, NoResponse> {
    let &GatewaySettings { response_timeout, idle_timeout, .. } = settings;
    let mut response = std::pin::pin!(response);
    let mut deadline = Instant::now() + response_timeout;
    loop {
        let Ok(sent) = timeout_at(deadline.into(), &mut response).await else {
            // The upstream's time starts again with each part of the body that it gets, and is
            // suspended while the gateway waits for the client.
            let (timed_out, until) = match upload.map(|upload| upload.standing()) {
                None => return Err(ForwardError::TimedOut(response_timeout).into()),
                Some((WaitsFor::Client, since)) => {
                    (ForwardError::ClientTimedOut(idle_timeout), since + idle_timeout)
                }
                Some((_, since)) => {
                    (ForwardError::TimedOut(response_timeout), since + response_timeout)
                }
            };
            if until <= Instant::now() {
                return Err(timed_out.into());
            }
            deadline = until;
            continue;
        };
        return sent.map_err(|mut error| {
            let unsent = error.take_message();
            let is_aborted = upload.is_some_and(|upload| upload.standing().0 == WaitsFor::Aborted);
            let cause = if is_aborted {
                ForwardError::ClientAborted
            } else {
                ForwardError::broken(error.into_error())
            };
            NoResponse { cause, unsent }
        });
    }
}

impl From<ForwardError> for NoResponse {
    fn from(cause: ForwardError) -> Self {
        Self { cause, unsent: None }
    }
}
