//! A request's body on its way to the upstream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::deciding_fields::DecidingFields;
use sluice_http::body;

/// How much of a body is kept until the upstream responds, to send it again over HTTP/2. Most
/// bodies of APIs are shorter.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// Which side a body is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The client has not sent more.
    Client,
    /// The upstream has not read more, or it has read everything.
    Upstream,
    /// Neither: the client aborted the body.
    Aborted,
}

/// The body that a client sends, and its progress. It is read by the task that waits for the
/// response, by the connection to the upstream, and by metrics.
#[derive(Debug)]
pub(crate) struct Upload {
    started: Instant,
    /// When data moved last, in microseconds since the start.
    moved_us: AtomicU64,
    bytes: AtomicU64,
    waits: AtomicU8,
    over: AtomicBool,
    source: Mutex<UploadSource>,
    /// The fields that trailers must not replace.
    fields: DecidingFields,
}

#[derive(Debug)]
struct UploadSource {
    /// `None` once it has ended or was given up.
    body: Option<Body>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    client_waits: bool,
    /// The number of times that sending has begun. Only the last one reads on.
    attempt: u32,
    /// Whether no attempt is reading: none has begun, or the last one was dropped.
    is_dropped: bool,
    /// How many kept frames the last attempt has sent.
    position: usize,
    /// Whether what is read is kept, to be sent again.
    keeps: bool,
    kept: Vec<KeptFrame>,
    kept_bytes: usize,
    /// Whether something was read that is not kept.
    has_lost: bool,
}

#[derive(Clone, Debug)]
enum KeptFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// A request's body as one attempt sends it. It is read from the client only as fast as the
/// upstream reads it, frame by frame, with trailers.
#[derive(Debug)]
pub(crate) struct RequestBody {
    upload: Option<Arc<Upload>>,
    attempt: u32,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("the client aborted the body")]
    Aborted(#[source] axum::Error),
    #[error("the request was sent again over another connection")]
    Superseded,
}

// === impl Upload ===

impl Upload {
    /// Wraps `body`; returns `None` if it is empty. When the client `waits` for `100 Continue`,
    /// nothing is read before the upstream asks for the body.
    pub(crate) fn new(body: Body, waits: bool, fields: DecidingFields) -> Option<Arc<Self>> {
        if body.is_end_stream() {
            return None;
        }
        let source = UploadSource {
            body: Some(body),
            client_waits: waits,
            attempt: 0,
            is_dropped: true,
            position: 0,
            keeps: false,
            kept: Vec::new(),
            kept_bytes: 0,
            has_lost: false,
        };
        Some(Arc::new(Self {
            started: Instant::now(),
            moved_us: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waits: AtomicU8::new(1),
            over: AtomicBool::new(false),
            source: Mutex::new(source),
            fields,
        }))
    }

    /// Returns the body for a new attempt to send the request, from its beginning. With `keeps`,
    /// the first part of it is kept, for the next attempt.
    pub(crate) fn begin(self: &Arc<Self>, keeps: bool) -> RequestBody {
        let mut source = self.source.lock();
        source.attempt += 1;
        source.is_dropped = false;
        source.position = 0;
        source.keeps = keeps;
        self.over.store(false, Ordering::Relaxed);
        RequestBody { upload: Some(Arc::clone(self)), attempt: source.attempt }
    }

    /// Returns whether the whole body can be sent from its beginning.
    pub(crate) fn is_complete(&self) -> bool {
        self.standing().0 != WaitsFor::Aborted && !self.source.lock().has_lost
    }

    /// Returns whether the last attempt has sent nothing of the body, and there is something to
    /// send.
    pub(crate) fn is_unsent(&self) -> bool {
        let source = self.source.lock();
        let has_rest = source.body.is_some() || !source.kept.is_empty();
        has_rest && source.position == 0 && !source.has_lost
    }

    /// Declares that the body is not sent again: forgets what was kept, and discards what the
    /// upstream did not read. Many clients read no response before they have sent everything.
    pub(crate) fn settle(&self) {
        let mut source = self.source.lock();
        source.keeps = false;
        source.has_lost = true;
        let sent = source.position.min(source.kept.len());
        source.kept.drain(..sent);
        source.position = 0;
        if source.is_dropped {
            self.discard(&mut source);
        }
    }

    fn discard(&self, source: &mut UploadSource) {
        if let Some(body) = source.body.take()
            && self.standing().0 != WaitsFor::Aborted
            && !source.client_waits
        {
            body::discard_later(body);
        }
    }

    /// Returns how many bytes were read from the client.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether nothing more will be forwarded.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Returns which side the body is waiting for, and since when.
    pub(crate) fn standing(&self) -> (WaitsFor, Instant) {
        let waits = match self.waits.load(Ordering::Relaxed) {
            0 => WaitsFor::Client,
            1 => WaitsFor::Upstream,
            _ => WaitsFor::Aborted,
        };
        (waits, self.started + Duration::from_micros(self.moved_us.load(Ordering::Relaxed)))
    }

    fn now_waits(&self, waits: WaitsFor) {
        let waits = match waits {
            WaitsFor::Client => 0,
            WaitsFor::Upstream => 1,
            WaitsFor::Aborted => 2,
        };
        self.waits.store(waits, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        let since_start = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(since_start, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.now_waits(WaitsFor::Upstream);
    }
}

// === impl UploadSource ===

impl UploadSource {
    /// Reads the next frame from the client.
    fn poll_client(
        &mut self,
        upload: &Upload,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.client_waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if polled.is_pending() {
            upload.now_waits(WaitsFor::Client);
        }
        let frame = match ready!(polled) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    upload.fields.purge_trailers(trailers);
                }
                upload.moved(frame.data_ref().map_or(0, |data| data.len() as u64));
                self.keep(&frame);
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                upload.now_waits(WaitsFor::Aborted);
                Some(Err(error))
            }
            None => {
                upload.moved(0);
                self.body = None;
                None
            }
        };
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.has_lost {
            return;
        }
        self.kept_bytes += frame.data_ref().map_or(0, Bytes::len);
        if !self.keeps || self.kept_bytes > MAX_KEPT_BYTES {
            self.has_lost = true;
            self.kept = Vec::new();
            self.position = 0;
            return;
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.kept.push(KeptFrame::Data(data.clone())),
            (_, Some(trailers)) => self.kept.push(KeptFrame::Trailers(trailers.clone())),
            _ => return,
        }
        self.position += 1;
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// Creates an empty body.
    pub(crate) const fn empty() -> Self {
        Self { upload: None, attempt: 0 }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let mut source = upload.source.lock();
        if source.attempt != self.attempt {
            return;
        }
        upload.over.store(true, Ordering::Relaxed);
        source.is_dropped = true;
        // Otherwise it may be sent again.
        if source.has_lost {
            upload.discard(&mut source);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(upload) = &self.upload else { return Poll::Ready(None) };
        let mut source = upload.source.lock();
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(RequestBodyError::Superseded)));
        }
        if let Some(kept) = source.kept.get(source.position).cloned() {
            source.position += 1;
            return Poll::Ready(Some(Ok(match kept {
                KeptFrame::Data(data) => Frame::data(data),
                KeptFrame::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        let frame = ready!(source.poll_client(upload, context));
        if frame.is_none() {
            upload.over.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Aborted)))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| {
            let source = upload.source.lock();
            source.kept.len() <= source.position
                && source.body.as_ref().is_none_or(HttpBody::is_end_stream)
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(upload) = &self.upload else { return SizeHint::with_exact(0) };
        let source = upload.source.lock();
        let kept = source.kept.iter().skip(source.position).map(|kept| match kept {
            KeptFrame::Data(data) => data.len() as u64,
            KeptFrame::Trailers(_) => 0,
        });
        let kept: u64 = kept.sum();
        let rest = source.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(kept + rest),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(kept + rest.lower());
                hint
            }
        }
    }
}
