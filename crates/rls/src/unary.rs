//! Unary gRPC calls, with each message read and written in one piece.
//!
//! tonic is made for streams: it copies each message through a reusable buffer and negotiates
//! compression for the response. Here a request that arrived in one frame is decoded without a
//! copy, and a response is written once. A request may be compressed with gzip; a response never
//! is, since it is shorter than a packet.

use std::{
    convert::Infallible,
    io::Read,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::body::HttpBody;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
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
/// The encodings that are read.
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const OK: HeaderValue = HeaderValue::from_static("0");

/// How the messages of a call may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

/// Says which encodings are read.
pub(crate) fn advertise_encodings(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, ACCEPTED);
}

/// Reads the message of a call, which may be `most` bytes long, also once it is decompressed.
///
/// # Errors
/// Returns a status for the caller when the body is not such a message.
pub(crate) async fn read<M, B>(request: &mut Request<B>, most: usize) -> Result<M, Status>
where
    M: Message + Default,
    B: HttpBody + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let encoding = encoding(request.headers())?;
    let mut bytes = body::in_time(pin!(collect(request.body_mut(), most)))
        .await
        .unwrap_or_else(|| Err(Status::deadline_exceeded("the message did not arrive in time")))?;
    if bytes.is_empty() {
        return Err(Status::internal("the call has no message"));
    }
    if bytes.len() < PREFIX_BYTES {
        return Err(Status::internal("the call ends before its message does"));
    }
    let is_compressed = match (bytes.get_u8(), encoding) {
        (0, _) => false,
        (1, Encoding::Gzip) => true,
        (1, Encoding::Identity) => {
            let message = "the message is compressed, but `grpc-encoding` does not say how";
            return Err(Status::internal(message));
        }
        (flag, _) => {
            let message = format!("{flag} is not a compression flag: send 0 or 1");
            return Err(Status::internal(message));
        }
    };
    let length = bytes.get_u32();
    match usize::try_from(length).unwrap_or(usize::MAX).cmp(&bytes.len()) {
        std::cmp::Ordering::Greater => {
            Err(Status::internal("the call ends before its message does"))
        }
        std::cmp::Ordering::Less => Err(Status::internal("the call has more than one message")),
        std::cmp::Ordering::Equal => {
            let message = if is_compressed { decompressed(&bytes, most)? } else { bytes };
            M::decode(message).map_err(|error| {
                Status::invalid_argument(format!("the message cannot be read: {error}"))
            })
        }
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

fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Encoding::Identity),
        Some(b"gzip") => Ok(Encoding::Gzip),
        Some(other) => Err(Status::unimplemented(format!(
            "messages compressed with `{}` are not read: send `identity` or `gzip`",
            other.escape_ascii()
        ))),
    }
}

/// Decompresses a message, as far as it may be long.
fn decompressed(message: &[u8], most: usize) -> Result<Bytes, Status> {
    let beyond = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::with_capacity(message.len().saturating_mul(2).min(most));
    MultiGzDecoder::new(message).take(beyond).read_to_end(&mut bytes).map_err(|error| {
        Status::internal(format!("the message cannot be decompressed: {error}"))
    })?;
    if bytes.len() > most {
        let message = format!("the decompressed message is longer than {most} bytes");
        return Err(Status::resource_exhausted(message));
    }
    Ok(bytes.into())
}

/// Returns the whole body. A body that arrived in one frame is not copied.
async fn collect<B>(body: &mut B, most: usize) -> Result<Bytes, Status>
where
    B: HttpBody + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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
        read(&mut Request::new(StreamBody::new(tokio_stream::iter(frames))), MOST).await
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

    fn gzipped(message: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, message).unwrap();
        encoder.finish().unwrap()
    }

    async fn read_encoded(encoding: &str, call: Vec<u8>) -> Result<prost_types::Duration, Status> {
        let request = Request::builder().header(ENCODING, encoding);
        read(&mut request.body(Full::new(Bytes::from(call))).unwrap(), MOST).await
    }

    fn compressed(message: &[u8]) -> Vec<u8> {
        framed(1, message.len().try_into().unwrap(), message)
    }

    #[tokio::test]
    async fn a_message_may_be_compressed_with_gzip() {
        let message = prost_types::Duration { seconds: 7, nanos: 8 }.encode_to_vec();
        for (encoding, call) in [
            ("gzip", compressed(&gzipped(&message))),
            ("gzip", call()),
            ("identity", call()),
            ("gzip", compressed(&[gzipped(&message[..2]), gzipped(&message[2..])].concat())),
        ] {
            assert_eq!(read_encoded(encoding, call).await.unwrap().seconds, 7, "{encoding}");
        }
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_decompressed_is_rejected() {
        let message = gzipped(&prost_types::Duration { seconds: 7, nanos: 8 }.encode_to_vec());
        let code = async |encoding, call| read_encoded(encoding, call).await.unwrap_err().code();
        assert_eq!(code("identity", compressed(&message)).await, Code::Internal);
        assert_eq!(code("gzip", compressed(b"no gzip")).await, Code::Internal);
        for cut in 0..message.len() {
            assert_eq!(code("gzip", compressed(&message[..cut])).await, Code::Internal, "{cut}");
        }
        let longest = gzipped(&vec![0; MOST]);
        assert_eq!(code("gzip", compressed(&longest)).await, Code::InvalidArgument, "not too long");
        let too_long = gzipped(&vec![0; MOST + 1]);
        assert_eq!(code("gzip", compressed(&too_long)).await, Code::ResourceExhausted);
        let bomb = gzipped(&vec![0; 16 << 20]);
        assert!(bomb.len() < MOST, "so it is not too long before it is decompressed");
        assert_eq!(code("gzip", compressed(&bomb)).await, Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn an_unknown_encoding_is_rejected_with_those_that_are_known() {
        for encoding in ["zstd", "deflate", "GZIP", "gzip, identity", ""] {
            let refused = read_encoded(encoding, call()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{encoding}");
            assert!(refused.message().contains("`identity` or `gzip`"), "{refused}");
        }
        let mut headers = HeaderMap::new();
        advertise_encodings(&mut headers);
        assert_eq!(headers[ACCEPT_ENCODING], "identity,gzip");
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
