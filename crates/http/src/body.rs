//! Reads a JSON body; whatever is wrong with it becomes a problem that says what and where.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, HttpBody};
use bytes::BytesMut;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, EXPECT},
    request::Parts,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
};

use crate::{
    Problem, ProblemKind,
    json::{self, JsonError},
};

/// How long a body may take to arrive. A client that stalls longer only occupies a connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// From this length on, a body is large: only so many bytes of them are in memory at a time, and
/// others wait.
const LARGE_BYTES: usize = 64 << 10;
const ALL_LARGE_BYTES: usize = 64 << 20;
/// A permit for each KiB.
static LARGE_BODIES: Semaphore = Semaphore::const_new(ALL_LARGE_BYTES >> 10);

/// How many unwanted bodies are read and discarded at a time.
static DISCARDED_BODIES: Semaphore = Semaphore::const_new(1_024);

/// How much of an unwanted body is read and discarded. The connection is closed beyond that.
const MAX_DISCARDED_BYTES: usize = 32 << 20;

/// Reads the whole body of a request, which has to declare it as JSON.
///
/// # Errors
/// Returns a problem when the `Content-Type` is not JSON, or when the body is longer than
/// `max_bytes`, is incomplete, or takes longer than 10 s.
pub async fn read(head: &Parts, body: &mut Body, max_bytes: usize) -> Result<Bytes, Problem> {
    require_json(&head.headers)?;
    read_all(body, max_bytes).await
}

/// Reads the whole body, whatever its `Content-Type` is.
///
/// # Errors
/// Returns a problem when the body is longer than `max_bytes`, is incomplete, or takes longer than
/// 10 s.
pub async fn read_all(body: &mut Body, max_bytes: usize) -> Result<Bytes, Problem> {
    match read_beginning(body, max_bytes, TIMEOUT).await? {
        Beginning::Whole(whole) => Ok(whole.into_bytes()),
        Beginning::Longer(_) => Err(too_large(max_bytes)),
    }
}

/// The beginning of a body: all of it, unless it is longer than its reader wants it.
#[derive(Debug)]
pub enum Beginning {
    /// The whole body.
    Whole(Whole),
    /// The first bytes, and maybe none, of a body that is longer. The rest is unread.
    Longer(Bytes),
}

/// A whole body in memory. A large one makes others wait until it is dropped.
#[derive(Debug)]
pub struct Whole {
    bytes: Bytes,
    permit: Option<SemaphorePermit<'static>>,
}

/// Reads the whole body, whatever its `Content-Type` is, as far as it is not longer than
/// `max_bytes`, which is at most 64 MiB. Of bodies above 64 KiB, at most 64 MiB are in memory at a
/// time, and others wait.
///
/// # Errors
/// Returns a problem when the body is incomplete, or does not arrive `within` that time.
pub async fn read_beginning(
    body: &mut Body,
    max_bytes: usize,
    within: Duration,
) -> Result<Beginning, Problem> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Ok(Beginning::Longer(Bytes::new()));
    }
    let read = at_once_or_within(within, pin!(collect(body, max_bytes))).await;
    read.unwrap_or_else(|| Err(too_slow(within)))
}

/// Discards the rest of the body of a request that came at `started`, in a task of its own, while
/// the response is sent: up to 32 MiB, and until 10 s after the start.
///
/// Many clients read no response before they have sent the whole request. They would see a broken
/// connection in place of the response.
pub fn discard(headers: &HeaderMap, body: Body, started: Instant) {
    // A client that sent `Expect: 100-continue` does not send the body of a rejected request.
    if !body.is_end_stream() && !headers.contains_key(EXPECT) {
        discard_until(body, started + TIMEOUT);
    }
}

/// Discards the rest of a body in a task of its own, while the response is sent. Does nothing
/// outside of a tokio runtime.
pub fn discard_later(body: Body) {
    discard_until(body, Instant::now() + TIMEOUT);
}

fn discard_until(mut body: Body, deadline: Instant) {
    if !body.is_end_stream()
        && let Ok(runtime) = Handle::try_current()
    {
        // Beyond the limit, the body is dropped, which ends the connection or the stream.
        let Ok(permit) = DISCARDED_BODIES.try_acquire() else { return };
        runtime.spawn(async move {
            let _permit = permit;
            let _ = tokio::time::timeout_at(deadline.into(), discard_all(&mut body)).await;
        });
    }
}

/// Parses `bytes`, a JSON object, as a `T`.
///
/// # Errors
/// Returns a problem when the bytes are not valid JSON for `T`; it names the field.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // serde would also accept an array of the members' values.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::new(
            ProblemKind::MalformedBody,
            "the body must be a JSON object: `{ .. }`",
        ));
    }
    // Tracking the field costs time, so it is done only for invalid input. The encoding is checked
    // at once, which takes less time than string by string.
    let parsed = str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok());
    parsed.map_or_else(|| json::read(bytes).map_err(malformed), Ok)
}

#[expect(clippy::needless_pass_by_value, reason = "used as the function of map_err")]
fn malformed(error: JsonError) -> Problem {
    let problem = Problem::new(ProblemKind::MalformedBody, error.to_string());
    match error.member() {
        Some(member) => problem.at(member),
        None => problem,
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "the request has no Content-Type: send `Content-Type: application/json`",
        ));
    };
    if is_json(content_type) {
        return Ok(());
    }
    let declared = String::from_utf8_lossy(content_type.as_bytes());
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        format!("`{declared}` is not supported: send `Content-Type: application/json`"),
    ))
}

fn is_json(content_type: &HeaderValue) -> bool {
    // Nearly every client writes it so.
    if content_type == "application/json" {
        return true;
    }
    let essence =
        content_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return true;
    }
    let (start, end) = (&b"application/"[..], &b"+json"[..]);
    essence.len() > start.len() + end.len()
        && essence[..start.len()].eq_ignore_ascii_case(start)
        && essence[essence.len() - end.len()..].eq_ignore_ascii_case(end)
}

async fn collect(body: &mut Body, max_bytes: usize) -> Result<Beginning, Problem> {
    // Nearly every body arrives as one chunk, which is not copied.
    let Some(first) = next(body).await? else { return Ok(Whole::from(Bytes::new()).into()) };
    if first.len() > max_bytes {
        return Ok(Beginning::Longer(first));
    }
    if body.is_end_stream() {
        return Ok(Whole::from(first).into());
    }
    let mut whole = BytesMut::from(first);
    let mut permit = None;
    while let Some(chunk) = next(body).await? {
        if permit.is_none() && whole.len() + chunk.len() > LARGE_BYTES {
            let rest = body.size_hint().exact().and_then(|rest| usize::try_from(rest).ok());
            let length = rest.map_or(max_bytes, |rest| whole.len() + chunk.len() + rest);
            permit = LARGE_BODIES.acquire_many(permits(length)).await.ok();
        }
        whole.extend_from_slice(&chunk);
        if whole.len() > max_bytes {
            return Ok(Beginning::Longer(Whole { bytes: whole.freeze(), permit }.into_bytes()));
        }
    }
    Ok(Whole { bytes: whole.freeze(), permit }.into())
}

/// Returns the permits of a large body.
fn permits(length: usize) -> u32 {
    u32::try_from(length.min(ALL_LARGE_BYTES).div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// A large body, which makes room for another one when it is dropped.
struct LargeBody {
    bytes: Bytes,
    _permit: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for LargeBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Whole {
    /// Returns the body's bytes with other content, which take the place of these.
    #[must_use]
    pub fn replaced(self, bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), ..self }
    }

    /// Returns the bytes. A large body makes room for another one when they are dropped.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.permit {
            Some(permit) => Bytes::from_owner(LargeBody { bytes: self.bytes, _permit: permit }),
            None => self.bytes,
        }
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Bytes> for Whole {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, permit: None }
    }
}

impl From<Whole> for Beginning {
    fn from(whole: Whole) -> Self {
        Self::Whole(whole)
    }
}

async fn discard_all(body: &mut Body) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Ok(Some(chunk)) = next(body).await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => return Ok(Some(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => {
                return Err(Problem::new(
                    ProblemKind::MalformedBody,
                    format!("the body is incomplete: {error}"),
                ));
            }
        }
    }
    Ok(None)
}

/// Returns the output of `future`, which reads a body, or `None` after 10 s. Most bodies arrive
/// together with the head; no timer is started for them.
pub async fn in_time<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    at_once_or_within(TIMEOUT, future).await
}

async fn at_once_or_within<F: Future>(
    within: Duration,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let first_poll = poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    });
    match first_poll.await {
        Some(output) => Some(output),
        None => tokio::time::timeout(within, future).await.ok(),
    }
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::new(
        ProblemKind::BodyTooLarge,
        format!("the body is longer than the allowed {max_bytes} bytes"),
    )
}

fn too_slow(within: Duration) -> Problem {
    Problem::new(
        ProblemKind::BodyTooSlow,
        format!("the body did not arrive within {} s", within.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;

    const JSON: Option<&str> = Some("application/json");

    async fn read_as(
        content_type: Option<&str>,
        body: impl Into<Body>,
        max_bytes: usize,
    ) -> Result<Bytes, StatusCode> {
        let mut request = Request::post("/");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let (head, mut body) = request.body(body.into()).unwrap().into_parts();
        read(&head, &mut body, max_bytes).await.map_err(|problem| problem.status())
    }

    #[tokio::test]
    async fn every_json_media_type_is_accepted() {
        for name in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/json ;x=y",
        ] {
            assert_eq!(read_as(Some(name), "{}", 2).await.unwrap(), "{}", "{name}");
        }
        for name in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "json",
            "application/+json",
            "",
        ] {
            assert_eq!(
                read_as(Some(name), "{}", 2).await,
                Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
                "{name}"
            );
        }
        assert_eq!(read_as(None, "{}", 2).await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }

    #[tokio::test]
    async fn a_body_may_be_as_long_as_allowed_and_no_longer() {
        let chunks = |count: usize| {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(count.max(1));
            for _ in 0..count {
                sender.try_send(Bytes::from_static(b"1234")).unwrap();
            }
            Body::new(Chunks(receiver))
        };
        assert_eq!(read_as(JSON, "12345678", 8).await.unwrap(), "12345678");
        assert_eq!(read_as(JSON, chunks(2), 8).await.unwrap(), "12341234");
        assert_eq!(read_as(JSON, chunks(0), 8).await.unwrap(), "");
        for body in [Body::from("123456789"), chunks(3)] {
            assert_eq!(read_as(JSON, body, 8).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        }
    }

    #[tokio::test]
    async fn large_bodies_wait_for_memory() {
        let large = |length: usize| {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(2);
            sender.try_send(Bytes::from(vec![0; 1])).unwrap();
            sender.try_send(Bytes::from(vec![0; length - 1])).unwrap();
            Body::new(Chunks(receiver))
        };
        let whole = |body: Result<Beginning, Problem>| match body {
            Ok(Beginning::Whole(whole)) => whole.replaced(vec![1]).into_bytes(),
            other => panic!("{other:?}"),
        };
        // Without a declared length, each may become as long as allowed.
        let half = ALL_LARGE_BYTES / 2;
        let mut bodies = [(); 3].map(|()| large(LARGE_BYTES + 1));
        let [one, two, three] = &mut bodies;
        let one = whole(read_beginning(one, half, TIMEOUT).await);
        let two = whole(read_beginning(two, half, TIMEOUT).await);
        let mut waiting = pin!(read_beginning(three, half, TIMEOUT));
        assert!(output_now(waiting.as_mut()).await.is_none(), "there is no room for a third one");
        drop(one);
        assert_eq!(whole(waiting.await), [1][..]);
        drop(two);
    }

    /// Returns the output of a future that is ready now.
    async fn output_now<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn nothing_of_a_longer_body_is_lost() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(3);
        for chunk in ["1234", "5678", "90"] {
            sender.try_send(Bytes::from_static(chunk.as_bytes())).unwrap();
        }
        drop(sender);
        let mut body = Body::new(Chunks(receiver));
        let Ok(Beginning::Longer(first)) = read_beginning(&mut body, 6, TIMEOUT).await else {
            panic!("the body is longer")
        };
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), b"1234567890");
        let mut declared = Body::from("1234567890");
        let beginning = read_beginning(&mut declared, 6, TIMEOUT).await;
        assert!(matches!(beginning, Ok(Beginning::Longer(first)) if first.is_empty()));
        assert_eq!(declared.collect().await.unwrap().to_bytes(), "1234567890");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_times_out() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        assert_eq!(
            read_as(JSON, Body::new(Chunks(receiver)), 8).await,
            Err(StatusCode::REQUEST_TIMEOUT)
        );
        drop(sender);
    }

    #[test]
    fn a_parse_error_names_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[allow(dead_code, reason = "only its reading matters")]
            inner: Vec<u8>,
        }
        let error_of = |text: &str| {
            let problem =
                serde_json::to_value(parse::<Outer>(text.as_bytes()).unwrap_err().body()).unwrap();
            (
                problem["detail"].as_str().unwrap().to_owned(),
                problem["field"].as_str().map(str::to_owned),
            )
        };
        let (detail, field) = error_of(r#"{"inner": [1, "two"]}"#);
        assert_eq!(
            (detail.as_str(), field.as_deref()),
            (
                "inner[1]: must be a whole number from 0 to 255, not the string \"two\" at line 1 \
                 column 19",
                Some("inner[1]")
            )
        );
        let (detail, field) = error_of(r#"{"inner": [], "outer": 1}"#);
        assert_eq!(detail, "outer: unknown field `outer`, expected `inner` at line 1 column 21");
        assert_eq!(field.as_deref(), Some("outer"));
        assert!(error_of("{\"inner\": []} x").0.contains("trailing characters"));
        assert!(error_of("{").0.contains("EOF"));
        assert!(error_of("[[]]").0.contains("a JSON object"));
        let deep = format!("{{\"inner\": {}", "[".repeat(100_000));
        assert!(
            error_of(&deep).0.contains("must be a whole number"),
            "deep nesting is an ordinary error"
        );
    }

    #[tokio::test]
    async fn an_unwanted_body_is_discarded_unless_the_client_expects_100_continue() {
        for (expect, discarded) in [("", true), ("100-continue", false)] {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
            let mut request = Request::post("/").body(Body::new(Chunks(receiver))).unwrap();
            if !expect.is_empty() {
                request.headers_mut().insert(EXPECT, HeaderValue::from_static(expect));
            }
            let (head, body) = request.into_parts();
            discard(&head.headers, body, Instant::now());
            let sent = async {
                for _ in 0..3 {
                    sender.send(Bytes::from_static(b"x")).await?;
                }
                Ok::<_, tokio::sync::mpsc::error::SendError<Bytes>>(())
            };
            assert_eq!(sent.await.is_ok(), discarded, "{expect}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn discarding_ends_ten_seconds_after_the_request_began() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let started = tokio::time::Instant::now();
        discard(&HeaderMap::new(), Body::new(Chunks(receiver)), started.into());
        sender.closed().await;
        assert_eq!(started.elapsed().as_secs(), TIMEOUT.as_secs());
    }

    /// A body whose chunks come from a channel.
    struct Chunks(tokio::sync::mpsc::Receiver<Bytes>);

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            self.0
                .poll_recv(context)
                .map(|chunk| chunk.map(|chunk| Ok(hyper::body::Frame::data(chunk))))
        }
    }
}
