//! What bounds the connections of a listener, and the HTTP settings that follow from it.

use std::time::Duration;

use hyper_util::{rt::TokioTimer, server::conn::auto};

use super::streams::StreamExecutor;

/// What bounds the connections of a listener. Together with the sizes below, the defaults keep a
/// process within 256 MiB, whatever its clients send and however little they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most open connections. A few more are accepted for probes.
    pub max_connections: usize,
    /// The most requests in progress, over all connections.
    pub max_requests: usize,
    /// How long the head of a request may take to arrive, from its first byte.
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is ready for it.
    pub write_timeout: Duration,
    /// How long a connection may stay without a request before it is closed.
    pub idle_timeout: Duration,
    /// How long a connection is used; `None` is forever.
    pub max_connection_age: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 2_048,
            max_requests: 2_048,
            head_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            // Longer than proxies keep idle connections (nginx: 60 s, Go: 90 s), so that they close
            // first, and no request meets a closing connection.
            idle_timeout: Duration::from_secs(120),
            max_connection_age: Some(Duration::from_secs(60 * 60)),
        }
    }
}

/// The longest time between two looks at a connection.
const LONGEST_TICK: Duration = Duration::from_secs(5);

impl Limits {
    /// Returns the time between two looks at each connection, which makes each timeout at most a
    /// quarter longer.
    pub(super) fn tick(&self) -> Duration {
        let Self { head_timeout, write_timeout, idle_timeout, max_connection_age, .. } = *self;
        let shortest = head_timeout.min(write_timeout).min(idle_timeout);
        let shortest = max_connection_age.map_or(shortest, |age| shortest.min(age));
        (shortest / 4).clamp(Duration::from_millis(10), LONGEST_TICK)
    }
}

/// The longest head that hyper reads over HTTP/1: the longest head that front ends accept, and room
/// for the request line, so that their own problem, which says what is wrong, comes first.
const MAX_HEAD_BUFFER: usize = 72 << 10;

/// The longest list of header fields over HTTP/2, in which each field counts 32 bytes more. It is
/// longer than the longest head that front ends accept, for the same reason.
const MAX_HEADER_LIST: u32 = 96 << 10;

/// How much of one request's body, and of all bodies of a connection, a client may send over HTTP/2
/// before it is read.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// How much of a response over HTTP/2 waits for its client, beyond the part that is being produced.
const MAX_SEND_BUFFER: usize = 64 << 10;

/// The most requests that a client may cancel before hyper has seen them: a proxy with a short
/// timeout cancels all of its calls at once when the process was stopped for a moment.
const MAX_UNSEEN_RESETS: usize = 2_000;

/// How often an HTTP/2 connection is pinged, and how long the response may take. It closes the
/// connections of clients that vanished.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// Returns the settings: HTTP/1.1 and HTTP/2 with at most `max_streams` requests on a connection,
/// which `executor` serves, without TLS too.
pub(super) fn protocol(
    executor: StreamExecutor,
    max_streams: u32,
) -> auto::Builder<StreamExecutor> {
    let mut protocol = auto::Builder::new(executor);
    // hyper's own timeout of the head would also close idle connections.
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BUFFER);
    let (interval, timeout) = KEEP_ALIVE;
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_concurrent_streams(max_streams)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout);
    protocol
}
