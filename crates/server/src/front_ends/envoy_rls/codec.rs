//! The messages on the wire.

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::messages::{RateLimitRequest, RateLimitResponse};

/// Room for a message of usual length; gRPC's own 8 KiB twice a call would cost more than the decision.
const USUAL_BYTES: usize = 512;
/// How much may be gathered before it is sent on.
const MOST_BYTES: usize = 32 << 10;

/// Reads requests and writes responses. What cannot be read is the caller's fault, not ours as gRPC's own codec says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RlsCodec;

impl Codec for RlsCodec {
    type Encode = RateLimitResponse;
    type Decode = RateLimitRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RlsCodec {
    type Item = RateLimitResponse;
    type Error = Status;

    fn encode(&mut self, response: RateLimitResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        response.encode(buffer).expect("the buffer grows as it needs to");
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(USUAL_BYTES, MOST_BYTES)
    }
}

impl Decoder for RlsCodec {
    type Item = RateLimitRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<RateLimitRequest>, Status> {
        let read = RateLimitRequest::decode(buffer);
        read.map(Some).map_err(|error| Status::invalid_argument(format!("this is no RateLimitRequest: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(USUAL_BYTES, MOST_BYTES)
    }
}
