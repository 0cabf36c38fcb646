//! Unary gRPC calls, with each message read and written in one piece.
//!
//! tonic is made for streams: it copies each message through a reusable buffer and negotiates
//! compression for the response. Here a request that arrived in one frame is decoded without a
//! copy, and a response is written once.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::body::HttpBody;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Frame;
use prost::Message;
use sluice_http::body;
use tonic::{Status, body::Body};

/// The prefix of each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The capacity for a response of usual length.
const USUAL_BYTES: usize = 512;

const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const OK: HeaderValue = HeaderValue::from_static("0");

/// Reads the message of a call, which may be `most` bytes long.
///
/// # Errors
/// Returns a status for the caller when the body is not such a message.
pub(crate) async fn read<M, B>(request: Request<B>, most: usize) -> Result<M, Status>
where
    M: Message + Default,
    B: HttpBody,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    refuse_compression(request.headers())?;
    let mut bytes = body::in_time(pin!(collect(request.into_body(), most)))
        .await
        .unwrap_or_else(|| Err(Status::deadline_exceeded("the message did not arrive in time")))?;
    if bytes.is_empty() {
        return Err(Status::internal("the call has no message"));
    }
    if bytes.len() < PREFIX_BYTES {
        return Err(Status::internal("the call ends before its message does"));
    }
    if bytes.get_u8() != 0 {
        return Err(Status::internal("the message is compressed, but `grpc-encoding` is missing"));
    }
    let length = bytes.get_u32();
    match usize::try_from(length).unwrap_or(usize::MAX).cmp(&bytes.len()) {
        std::cmp::Ordering::Greater => {
            Err(Status::internal("the call ends before its message does"))
        }
        std::cmp::Ordering::Less => Err(Status::internal("the call has more than one message")),
        std::cmp::Ordering::Equal => M::decode(bytes).map_err(|error| {
            Status::invalid_argument(format!("the message cannot be read: {error}"))
        }),
    }
}

/// Returns a response with one message.
pub(crate) fn respond(message: &impl Message) -> Response<Body> {
    let mut bytes = BytesMut::with_capacity(USUAL_BYTES);
    bytes.put_bytes(0, PREFIX_BYTES);
    message.encode(&mut bytes).expect("the buffer grows as it needs to");
    let length =
        u32::try_from(bytes.len() - PREFIX_BYTES).expect("a response is shorter than 4 GiB");
    bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    let mut response =
        Response::new(Body::new(UnaryBody { message: Some(bytes.freeze()), ended: false }));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn refuse_compression(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(ENCODING) {
        Some(encoding) if *encoding != IDENTITY => {
            let mut refused = Status::unimplemented(format!(
                "messages compressed with {encoding:?} are not supported: send them uncompressed"
            ));
            refused
                .metadata_mut()
                .insert(ACCEPT_ENCODING, tonic::metadata::MetadataValue::from_static("identity"));
            Err(refused)
        }
        _ => Ok(()),
    }
}

/// Returns the whole body. A body that arrived in one frame is not copied.
async fn collect<B>(body: B, most: usize) -> Result<Bytes, Status>
where
    B: HttpBody,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.remaining() > PREFIX_BYTES + most {
            return Err(Status::out_of_range(format!("the message is longer than {most} bytes")));
        }
        let data = data.copy_to_bytes(data.remaining());
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The body of a response: one message, then the status OK in the trailers.
struct UnaryBody {
    message: Option<Bytes>,
    ended: bool,
}

impl HttpBody for UnaryBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, OK);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use tonic::Code;

    use super::*;

    const MOST: usize = 1 << 16;

    /// Returns the prefix for a message of this length, followed by the message.
    fn framed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &length.to_be_bytes(), message].concat()
    }

    fn call() -> Vec<u8> {
        let message = prost_types::Duration { seconds: 7, nanos: 8 }.encode_to_vec();
        framed(0, message.len().try_into().unwrap(), &message)
    }

    async fn read_frames(frames: Vec<Vec<u8>>) -> Result<prost_types::Duration, Status> {
        let frames =
            frames.into_iter().map(|frame| Ok::<_, Infallible>(Frame::data(Bytes::from(frame))));
        read(Request::new(StreamBody::new(tokio_stream::iter(frames))), MOST).await
    }

    #[tokio::test]
    async fn a_message_may_arrive_in_any_frames() {
        let call = call();
        for cut in 0..=call.len() {
            let (one, other) = call.split_at(cut);
            for frames in [
                vec![one.to_vec(), other.to_vec()],
                vec![Vec::new(), one.to_vec(), Vec::new(), other.to_vec(), Vec::new()],
            ] {
                let read = read_frames(frames).await.unwrap();
                assert_eq!((read.seconds, read.nanos), (7, 8), "{cut}");
            }
        }
        let each_alone = call.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(read_frames(each_alone).await.unwrap().seconds, 7);
        let nothing = read_frames(vec![framed(0, 0, b"")]).await.unwrap();
        assert_eq!(nothing, prost_types::Duration::default(), "a message may be empty");
    }

    #[tokio::test]
    async fn an_invalid_message_is_rejected() {
        let twice = [call(), call()].concat();
        let code = async |bytes: &[u8]| read_frames(vec![bytes.to_vec()]).await.unwrap_err().code();
        assert_eq!(code(b"").await, Code::Internal, "nothing");
        for cut in 1..call().len() {
            assert_eq!(code(&call()[..cut]).await, Code::Internal, "half a message: {cut}");
        }
        assert_eq!(code(&twice).await, Code::Internal, "two messages");
        assert_eq!(code(&framed(1, 2, b"xx")).await, Code::Internal, "compressed");
        assert_eq!(code(&framed(2, 2, b"xx")).await, Code::Internal, "an unknown compression flag");
        assert_eq!(
            code(&framed(0, u32::MAX, b"xx")).await,
            Code::Internal,
            "a length beyond the end"
        );
        assert_eq!(code(&framed(0, 2, b"\xff\xff")).await, Code::InvalidArgument, "not a message");
        let long = vec![0; MOST + 1];
        assert_eq!(code(&framed(0, long.len().try_into().unwrap(), &long)).await, Code::OutOfRange);
    }

    #[tokio::test]
    async fn a_compressed_call_is_rejected_with_the_accepted_encoding() {
        let request = |encoding: &str| {
            Request::builder()
                .header(ENCODING, encoding)
                .body(Full::new(Bytes::from(call())))
                .unwrap()
        };
        let refused = read::<prost_types::Duration, _>(request("gzip"), MOST).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.metadata().get(ACCEPT_ENCODING).unwrap(), "identity");
        assert_eq!(
            read::<prost_types::Duration, _>(request("identity"), MOST).await.unwrap().seconds,
            7
        );
    }

    #[tokio::test]
    async fn a_response_is_a_message_and_a_status() {
        let message = prost_types::Duration { seconds: 7, nanos: 8 };
        let response = respond(&message);
        assert_eq!((response.status().as_u16(), &response.headers()[CONTENT_TYPE]), (200, &GRPC));
        let gathered = response.into_body().collect().await.unwrap();
        assert_eq!(gathered.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(gathered.to_bytes(), call());
    }
}
