//! Gives a body to what hyper refuses by itself.
//!
//! Some requests never reach the doors: what is not HTTP, a path in raw bytes that are no UTF-8,
//! more header fields than hyper counts. Hyper answers them with a bare status, and cannot be told
//! to say more. So the stream that it writes to knows these answers, and sends a problem in their
//! place. Nothing else is touched: an answer of the doors never begins like one of these.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::front_ends::{Kind, Problem};

/// What hyper writes after the status line of a refusal, in a response that nobody else has given a
/// field to.
const BARE: &[u8] = b"connection: close\r\ncontent-length: 0\r\n";

/// A stream that says why, where hyper would not.
#[derive(Debug)]
pub(super) struct Explaining<S> {
    stream: S,
    /// What is left to be sent in place of hyper's answer.
    refusal: Option<Bytes>,
}

impl<S> Explaining<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, refusal: None }
    }
}

/// What to send in place of `answer`, if that is a bare refusal.
fn explain(answer: &[u8]) -> Option<Bytes> {
    let rest = answer.strip_prefix(b"HTTP/1.1 4").or_else(|| answer.strip_prefix(b"HTTP/1.0 4"))?;
    let (code, rest) = rest.split_at_checked(2)?;
    let fields = &rest[rest.windows(2).position(|end| end == b"\r\n")? + 2..];
    if !fields.starts_with(BARE) {
        return None;
    }
    let problem = match code {
        b"00" => Problem::new(
            Kind::MalformedRequest,
            "this is no HTTP as it is read here: a method, a path without spaces whose bytes are UTF-8, `HTTP/1.1`, and fields of a name, a colon and text",
        ),
        b"14" => Problem::new(Kind::PathTooLong, "a path of more than 65534 bytes is not read"),
        b"31" => Problem::new(
            Kind::HeadersTooLarge,
            "more than 100 header fields, or fields without end, are not read",
        ),
        _ => return None,
    };
    let status = problem.status();
    let body = problem.to_json();
    let mut text = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
    .into_bytes();
    text.extend_from_slice(&body);
    Some(text.into())
}

impl<S: AsyncWrite + Unpin> Explaining<S> {
    /// Sends what stands in for `written` bytes that begin with `answer`; `None` when nothing does.
    fn poll_explain(
        &mut self,
        context: &mut Context<'_>,
        answer: &[u8],
        written: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            self.refusal = Some(explain(answer)?);
        }
        Some(self.poll_refusal(context).map_ok(|()| written))
    }

    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = &mut self.refusal {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, left))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _sent = left.split_to(sent);
            if left.is_empty() {
                self.refusal = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explaining<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explaining<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.poll_explain(context, bytes, bytes.len()) {
            Some(sent) => sent,
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = parts.first().map_or(&[][..], |part| part);
        match self.poll_explain(context, first, parts.iter().map(|part| part.len()).sum()) {
            Some(sent) => sent,
            None => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_refusals_are_explained() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let told = String::from_utf8(explain(bare).unwrap().to_vec()).unwrap();
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"), "{told}");
        assert!(told.contains("urn:sluice:problem:malformed-request"), "{told}");
        for other in [
            &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(explain(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
