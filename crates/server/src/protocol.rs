//! The settings of HTTP that the HTTP port and the admin port share.

use std::time::Duration;

use hyper_util::{rt::TokioExecutor, server::conn::auto};

/// The longest head that is accepted: as long as Envoy, the most generous proxy, accepts.
pub(crate) const MAX_HEAD_BYTES: usize = 60 << 10;

/// The longest list of header fields that HTTP/2 accepts. It is longer than [`MAX_HEAD_BYTES`], so
/// that our own problem, which says what is wrong, comes first.
const MAX_HEADER_LIST_BYTES: u32 = 256 << 10;

/// The time after which an idle connection is closed. It is longer than proxies keep idle
/// connections (nginx: 60 s, Go: 90 s), so that they close first, and no request meets a closing
/// connection.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns the settings: HTTP/1.1 and HTTP/2, the latter without TLS too.
pub(crate) fn http() -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol.http2().max_header_list_size(MAX_HEADER_LIST_BYTES);
    protocol
}
