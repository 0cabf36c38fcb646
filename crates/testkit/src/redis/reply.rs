//! The part of the Redis protocol that tests need.

use std::io::{self, BufRead, Read, Write};

/// The reply of Redis to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No value, such as that of a missing key.
    Nil,
    /// A whole number.
    Integer(i64),
    /// A status such as `OK`.
    Status(String),
    /// The bytes of a value.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
    /// An error inside an array; an error on its own is [`CommandError::Refused`].
    Error(String),
}

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server is down, hangs, or closed the connection.
    #[error("redis did not reply: {0}")]
    Unreachable(#[from] io::Error),
    /// The server replied with an error, such as `ERR wrong number of arguments`.
    #[error("redis refused: {0}")]
    Refused(String),
}

impl Reply {
    /// Returns the number, also one that Redis sent as text.
    ///
    /// # Panics
    /// When the reply is not a whole number.
    #[must_use]
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            Self::Status(_) | Self::Bulk(_) => match self.text().parse() {
                Ok(number) => number,
                Err(_) => panic!("expected a whole number, not {self:?}"),
            },
            other => panic!("expected a whole number, not {other:?}"),
        }
    }

    /// Returns the text of a status, a value or a number.
    ///
    /// # Panics
    /// When the reply is something else, or not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) => text.clone(),
            Self::Bulk(bytes) => match String::from_utf8(bytes.clone()) {
                Ok(text) => text,
                Err(_) => panic!("expected text, not {self:?}"),
            },
            Self::Integer(number) => number.to_string(),
            other => panic!("expected text, not {other:?}"),
        }
    }

    /// Returns the replies inside an array.
    ///
    /// # Panics
    /// When the reply is not an array.
    #[must_use]
    #[track_caller]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            other => panic!("expected an array, not {other:?}"),
        }
    }

    /// Returns a value from an array of names, each followed by its value.
    ///
    /// # Panics
    /// When the reply is something else, or a name is not text.
    #[must_use]
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&Self> {
        let mut pairs = self.items().chunks_exact(2);
        pairs.find_map(|pair| (pair[0].text() == name).then_some(&pair[1]))
    }

    /// Returns the texts inside an array, such as the reply to `KEYS *`.
    ///
    /// # Panics
    /// When the reply is not an array of texts.
    #[must_use]
    #[track_caller]
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(Self::text).collect()
    }
}

/// Writes one command.
pub(super) fn send<A: AsRef<[u8]>>(stream: &mut impl Write, parts: &[A]) -> io::Result<()> {
    let mut wire = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts.iter().map(AsRef::as_ref) {
        wire.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        wire.extend_from_slice(part);
        wire.extend_from_slice(b"\r\n");
    }
    stream.write_all(&wire)
}

/// Reads the reply to one command.
pub(super) fn receive(stream: &mut impl BufRead) -> Result<Reply, CommandError> {
    match read_reply(stream)? {
        Reply::Error(message) => Err(CommandError::Refused(message)),
        reply => Ok(reply),
    }
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(line))?;
    let number = || rest.parse::<i64>().map_err(|_| malformed(line));
    match kind {
        "+" => Ok(Reply::Status(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Integer(number()?)),
        "$" => match usize::try_from(number()?) {
            Ok(length) => read_bulk(stream, length),
            Err(_) => Ok(Reply::Nil),
        },
        "*" => match usize::try_from(number()?) {
            Ok(length) => {
                (0..length).map(|_| read_reply(stream)).collect::<io::Result<_>>().map(Reply::Array)
            }
            Err(_) => Ok(Reply::Nil),
        },
        _ => Err(malformed(line)),
    }
}

fn read_bulk(stream: &mut impl Read, length: usize) -> io::Result<Reply> {
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(Reply::Bulk(bytes))
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is not the start of a reply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mut wire: &[u8]) -> Result<Reply, CommandError> {
        receive(&mut wire)
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut wire = Vec::new();
        send(&mut wire, &["GET", "ä"]).unwrap();
        assert_eq!(wire, "*2\r\n$3\r\nGET\r\n$2\r\nä\r\n".as_bytes());
    }

    #[test]
    fn replies_may_be_nested_and_hold_any_bytes() {
        let reply = parse(b"*4\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*2\r\n+OK\r\n-ERR no\r\n").unwrap();
        let inner = Reply::Array(vec![Reply::Status("OK".into()), Reply::Error("ERR no".into())]);
        assert_eq!(
            reply.items(),
            [Reply::Integer(-7), Reply::Bulk(b"a\r\nb".to_vec()), Reply::Nil, inner]
        );
    }

    #[test]
    fn an_error_is_not_a_reply() {
        assert_eq!(
            parse(b"-NOAUTH log in\r\n").unwrap_err().to_string(),
            "redis refused: NOAUTH log in"
        );
    }

    #[test]
    fn a_field_is_the_value_after_its_name() {
        let pairs = ["b", "a", "a", "1"].map(|text| Reply::Status(text.into()));
        let reply = Reply::Array(pairs.into());
        assert_eq!(reply.field("a").map(Reply::integer), Some(1));
        assert_eq!(reply.field("c"), None);
    }

    #[test]
    fn an_incomplete_reply_is_an_error() {
        for wire in [&b""[..], b"+O", b"$5\r\nab", b"*2\r\n:1\r\n"] {
            assert!(matches!(parse(wire), Err(CommandError::Unreachable(_))), "{wire:?}");
        }
    }

    #[test]
    fn bytes_of_another_protocol_are_an_error() {
        assert_eq!(
            parse(b"HTTP/1.1 400\r\n").unwrap_err().to_string(),
            "redis did not reply: `HTTP/1.1 400` is not the start of a reply"
        );
    }

    #[test]
    fn numbers_are_read_from_text_too() {
        assert_eq!((Reply::Integer(3).integer(), Reply::Bulk(b"4".to_vec()).integer()), (3, 4));
    }
}
