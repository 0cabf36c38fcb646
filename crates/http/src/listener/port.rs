//! What the connections of one port share.

use std::{
    fmt::{self, Debug},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use sluice_telemetry::{OpenConnection, SystemRecorder};

use super::{handler::Handler, limits::Limits};

/// How many connections are accepted beyond the limit, each for one request. Probes get their
/// responses on them, and other requests learn that the process is overloaded.
const SPARE_CONNECTIONS: usize = 32;

/// How many probes are answered beyond the limit of requests.
const SPARE_REQUESTS: usize = 64;

/// A response up to this length is never refused: a decision is about as long.
const SHORT_RESPONSE: u64 = 16 << 10;
/// How much of longer responses may wait for their clients, over all connections.
const MAX_WAITING_BYTES: u64 = 64 << 20;

/// What the connections of one port share.
pub(super) struct Port<H> {
    pub(super) handler: H,
    pub(super) limits: Limits,
    pub(super) recorder: SystemRecorder,
    connections: AtomicUsize,
    requests: AtomicUsize,
    waiting_bytes: AtomicU64,
}

/// The place of one open connection, which is free again when this is dropped.
pub(super) struct Slot<H> {
    port: Arc<Port<H>>,
    is_spare: bool,
    _open: OpenConnection,
}

impl<H: Handler> Port<H> {
    pub(super) fn new(handler: H, recorder: SystemRecorder, limits: Limits) -> Self {
        let [connections, requests] = [0; 2].map(AtomicUsize::new);
        let waiting_bytes = AtomicU64::new(0);
        Self { handler, limits, recorder, connections, requests, waiting_bytes }
    }

    /// Returns a place for a connection, or `None` when even the spare ones are taken.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot<H>> {
        let most = self.limits.max_connections;
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if before >= most.saturating_add(SPARE_CONNECTIONS) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Slot {
            port: Arc::clone(self),
            is_spare: before >= most,
            _open: self.recorder.connection_opened(H::CONNECTION),
        })
    }

    /// Counts a request, unless there are too many. There is room for a few more probes.
    pub(super) fn request_begins(&self, is_probe: bool) -> bool {
        let spare = if is_probe { SPARE_REQUESTS } else { 0 };
        let most = self.limits.max_requests.saturating_add(spare);
        let may_begin = self.requests.fetch_add(1, Ordering::Relaxed) < most;
        if !may_begin {
            self.request_ended();
        }
        may_begin
    }

    /// Counts a request as ended.
    pub(super) fn request_ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes room for a response of `length` bytes and returns how much, or `None` when too many
    /// long responses wait for their clients.
    pub(super) fn room_for(&self, length: u64) -> Option<u64> {
        if length <= SHORT_RESPONSE {
            return Some(0);
        }
        if self.waiting_bytes.fetch_add(length, Ordering::Relaxed) < MAX_WAITING_BYTES {
            return Some(length);
        }
        self.give_room_back(length);
        None
    }

    /// Gives back what [`room_for`](Self::room_for) returned.
    pub(super) fn give_room_back(&self, room: u64) {
        self.waiting_bytes.fetch_sub(room, Ordering::Relaxed);
    }
}

impl<H> Slot<H> {
    /// Returns whether the connection is one beyond the limit.
    pub(super) const fn is_spare(&self) -> bool {
        self.is_spare
    }
}

impl<H> Drop for Slot<H> {
    fn drop(&mut self) {
        self.port.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<H> Debug for Port<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<H> Debug for Slot<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("is_spare", &self.is_spare).finish_non_exhaustive()
    }
}
