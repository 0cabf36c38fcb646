//! Reads a JSON body, so that whatever is wrong with it is answered as a problem that says what and
//! where.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
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
use tokio::runtime::Handle;

use super::problem::{Kind, Problem};

/// The longest that a body may be on its way. A client that stalls longer holds a connection for
/// nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of an unwanted body is read and thrown away; beyond it the connection is cut.
const MAX_DISCARDED_BYTES: usize = 32 << 20;

/// Reads the whole body of a request that says it holds JSON.
///
/// # Errors
/// When it is not said to be JSON, is longer than `max_bytes`, breaks off, or takes too long.
pub(crate) async fn read(
    head: &Parts,
    body: &mut Body,
    max_bytes: usize,
) -> Result<Bytes, Problem> {
    require_json(&head.headers)?;
    read_all(body, max_bytes).await
}

/// Reads the whole body, whatever it says it holds.
///
/// # Errors
/// When it is longer than `max_bytes`, breaks off, or takes too long.
pub(crate) async fn read_all(body: &mut Body, max_bytes: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large(max_bytes));
    }
    in_time(pin!(collect(body, max_bytes))).await.unwrap_or_else(|| Err(too_slow()))
}

/// Reads what nobody has read of a body, up to [`MAX_DISCARDED_BYTES`]: many a client looks at no
/// answer before all is sent, and would see a broken connection in its place.
pub(crate) async fn discard(head: &Parts, body: &mut Body) {
    // A client that waits to be told to go on will not send what was refused.
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        in_time(pin!(discard_all(body))).await;
    }
}

/// As [`discard`], of a body that is nobody's any more, while its request is answered. To be called
/// where a runtime may be gone.
pub(crate) fn discard_later(mut body: Body) {
    if let Ok(runtime) = Handle::try_current()
        && !body.is_end_stream()
    {
        runtime.spawn(async move {
            in_time(pin!(discard_all(&mut body))).await;
        });
    }
}

/// Reads `bytes`, a JSON object, as a `T`.
///
/// # Errors
/// When it is not the JSON that `T` is read from; the problem names the field.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // Else a list of the members' values, without their names, would do.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::new(Kind::MalformedBody, "this is read from a JSON object: `{ .. }`"));
    }
    // Naming the field costs: what is right is read without it.
    serde_json::from_slice(bytes).map_err(|_| explain::<T>(bytes))
}

fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let (path, error) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => (error.path().to_string(), error.into_inner()),
        Ok(_) => match deserializer.end() {
            Err(error) => (String::new(), error),
            Ok(()) => (
                String::new(),
                serde::de::Error::custom("the body reads differently the second time"),
            ),
        },
    };
    // The path of the whole body is a dot.
    if path.chars().any(char::is_alphanumeric) {
        Problem::new(Kind::MalformedBody, format!("{path}: {error}")).at(path)
    } else {
        Problem::new(Kind::MalformedBody, error.to_string())
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "the body has no Content-Type: send `Content-Type: application/json`",
        ));
    };
    if is_json(content_type) {
        return Ok(());
    }
    let told = String::from_utf8_lossy(content_type.as_bytes());
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        format!("`{told}` is not read here: send `Content-Type: application/json`"),
    ))
}

fn is_json(content_type: &HeaderValue) -> bool {
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

async fn collect(body: &mut Body, max_bytes: usize) -> Result<Bytes, Problem> {
    // A body of one piece, as nearly every one is, is not copied.
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    if first.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(piece) = next(body).await? {
        if whole.len() + piece.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

async fn discard_all(body: &mut Body) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Ok(Some(piece)) = next(body).await {
        match left.checked_sub(piece.len()) {
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
                    Kind::MalformedBody,
                    format!("the body breaks off: {error}"),
                ));
            }
        }
    }
    Ok(None)
}

/// What `future` brings within [`PATIENCE`]. Most bodies came with the head, and then no timer is
/// needed.
async fn in_time<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let at_once = poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    });
    match at_once.await {
        Some(output) => Some(output),
        None => tokio::time::timeout(PATIENCE, future).await.ok(),
    }
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body is longer than {max_bytes} bytes, the most that is read here"),
    )
}

fn too_slow() -> Problem {
    Problem::new(
        Kind::BodyTooSlow,
        format!("the body did not arrive within {} s", PATIENCE.as_secs()),
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
    async fn json_is_read_by_any_of_its_names() {
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
    async fn a_body_is_read_to_its_last_allowed_byte_and_no_further() {
        let pieces = |count: usize| {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(count.max(1));
            for _ in 0..count {
                sender.try_send(Bytes::from_static(b"1234")).unwrap();
            }
            Body::new(Pieces(receiver))
        };
        assert_eq!(read_as(JSON, "12345678", 8).await.unwrap(), "12345678");
        assert_eq!(read_as(JSON, pieces(2), 8).await.unwrap(), "12341234");
        assert_eq!(read_as(JSON, pieces(0), 8).await.unwrap(), "");
        for body in [Body::from("123456789"), pieces(3)] {
            assert_eq!(read_as(JSON, body, 8).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        assert_eq!(
            read_as(JSON, Body::new(Pieces(receiver)), 8).await,
            Err(StatusCode::REQUEST_TIMEOUT)
        );
        drop(sender);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[allow(dead_code, reason = "only its reading matters")]
            inner: Vec<u8>,
        }
        let told = |text: &str| {
            let problem =
                serde_json::to_value(parse::<Outer>(text.as_bytes()).unwrap_err().body()).unwrap();
            (
                problem["detail"].as_str().unwrap().to_owned(),
                problem["field"].as_str().map(str::to_owned),
            )
        };
        let (detail, field) = told(r#"{"inner": [1, "two"]}"#);
        assert_eq!(
            (detail.as_str(), field.as_deref()),
            (
                "inner[1]: invalid type: string \"two\", expected u8 at line 1 column 19",
                Some("inner[1]")
            )
        );
        let (detail, field) = told(r#"{"inner": [], "outer": 1}"#);
        assert_eq!(detail, "outer: unknown field `outer`, expected `inner` at line 1 column 21");
        assert_eq!(field.as_deref(), Some("outer"));
        assert!(told("{\"inner\": []} x").0.contains("trailing characters"));
        assert!(told("{").0.contains("EOF"));
        assert!(told("[[]]").0.contains("a JSON object"));
        let deep = format!("{{\"inner\": {}", "[".repeat(100_000));
        assert!(
            told(&deep).0.contains("invalid type"),
            "what nests too deep is refused like all else"
        );
    }

    #[tokio::test]
    async fn an_unwanted_body_is_read_to_its_end_unless_the_client_waits() {
        for (expect, left) in [("", 0), ("100-continue", 2)] {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(2);
            for _ in 0..2 {
                sender.try_send(Bytes::from_static(b"x")).unwrap();
            }
            drop(sender);
            let mut request = Request::post("/").body(Body::new(Pieces(receiver))).unwrap();
            if !expect.is_empty() {
                request.headers_mut().insert(EXPECT, HeaderValue::from_static(expect));
            }
            let (head, mut body) = request.into_parts();
            discard(&head, &mut body).await;
            assert_eq!(collect(&mut body, 8).await.unwrap().len(), left, "{expect}");
        }
    }

    /// A body in the pieces that a channel brings.
    struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            self.0
                .poll_recv(context)
                .map(|piece| piece.map(|piece| Ok(hyper::body::Frame::data(piece))))
        }
    }
}
