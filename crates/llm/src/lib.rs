//! The wire formats of language models: what a request may use, what an answer used, and answers of
//! our own that clients understand.
//!
//! This crate does no I/O, is not async and has no clock. A proxy in front of a model uses it so:
//!
//! 1. [`Vendor::call`] says which [`Wire`] format the path of a `POST` speaks, if any.
//! 2. [`ModelRequest::read`] reads the body, and [`ModelRequest::estimate`] says what to reserve.
//!    Where the request is denied or wrong, [`Refusal`] is the answer, and [`rate_limit_headers`]
//!    says what remains of the limits.
//! 3. [`include_usage`] changes the body of a stream that would not report its usage. The request
//!    goes on with [`ACCEPT_ENCODING`].
//! 4. [`Framing::of`] says whether the answer can be read. If so, a [`Meter`] reads it as it
//!    passes, and returns in the end what to settle. If not, the estimate stands.
//!
//! An answer other than 2xx used nothing. A [`TypicalOutput`] learns what to reserve for answers to
//! requests that state no limit ([`ModelRequest::open_answers`]).
//!
//! ```
//! use sluice_llm::{Framing, Hold, Meter, Metered, ModelRequest, Vendor, include_usage};
//!
//! let call = Vendor::OpenAi.call("/v1/chat/completions").unwrap();
//! let body = br#"{"model":"m","stream":true,"max_tokens":50,
//!                 "messages":[{"role":"user","content":"Good morning"}]}"#;
//! let request = ModelRequest::read(&call, body)?;
//! let estimate = request.estimate(Hold::Typical, 256);
//! assert_eq!((estimate.input, estimate.output), (3 + 8, 50));
//!
//! let body = include_usage(body)?;
//! let mut meter = Meter::new(call.wire, Framing::Sse, estimate.input);
//! if body.is_some() {
//!     meter = meter.without_usage_chunk();
//! }
//! let chunk = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
//! assert_eq!(meter.feed(chunk), chunk.as_slice());
//! let usage = br#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
//! let usage = [b"data: ".as_slice(), usage, b"\n\n"].concat();
//! assert_eq!(meter.feed(&usage), b"".as_slice());
//! let (rest, report) = meter.finish();
//! assert!(rest.is_empty());
//! let Metered::Reported(usage) = report.metered else { panic!("the usage was reported") };
//! assert_eq!((usage.consumed(), usage.generated()), (9, 2));
//! # Ok::<_, sluice_llm::RequestError>(())
//! ```

mod answer;
mod json;
mod number;
mod refusal;
mod request;
mod typical_output;
mod wire;

pub use answer::{ACCEPT_ENCODING, Framing, Meter, Metered, Report};
pub use refusal::{Counted, Problem, RateLimit, Refusal, rate_limit_headers, retry_headers};
pub use request::{Estimate, Hold, ModelRequest, RequestError, include_usage};
pub use typical_output::TypicalOutput;
pub use wire::{Call, InPath, Vendor, VendorError, Wire};
