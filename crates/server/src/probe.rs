//! `sluice health`: asks a replica whether it is ready, for images in which nothing else can.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than readiness takes to look at the store, and shorter than what asks us waits for the
/// answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Far more than the answer is; something else may listen there.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it wants to be asked.
    pub ready: bool,
    /// Its own words, in JSON.
    pub body: String,
}

/// Asks the replica at `address` for `/ready`.
///
/// # Errors
/// When nobody listens there, answers within two seconds, or speaks HTTP.
pub fn ask(address: SocketAddr) -> io::Result<Said> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    stream.write_all(format!("GET /ready HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    read(stream)
}

fn read(stream: impl Read) -> io::Result<Said> {
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.strip_prefix("HTTP/1.").and_then(|rest| rest.split([' ', '\r']).nth(1)) {
        Some(status) => Ok(Said { ready: status == "200", body: body.trim_end().to_owned() }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &str) -> io::Result<Said> {
        read(answer.as_bytes())
    }

    #[test]
    fn only_200_is_ready() {
        let ready = said(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"ready\"}\n",
        )
        .unwrap();
        assert_eq!(ready, Said { ready: true, body: "{\"status\":\"ready\"}".to_owned() });
        let stopping =
            said("HTTP/1.0 503 Service Unavailable\r\n\r\n{\"status\":\"stopping\"}").unwrap();
        assert_eq!(stopping, Said { ready: false, body: "{\"status\":\"stopping\"}".to_owned() });
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for answer in ["", "-ERR unknown command 'GET'\r\n", "HTTP/1.1", "\r\n"] {
            assert_eq!(said(answer).unwrap_err().kind(), io::ErrorKind::InvalidData, "{answer:?}");
        }
    }

    #[test]
    fn an_endless_response_is_truncated() {
        let endless = b"HTTP/1.1 200 OK\r\n\r\n".chain(io::repeat(b'x'));
        assert!(read(endless).unwrap().body.len() < usize::try_from(LONGEST_ANSWER).unwrap());
    }

    #[test]
    fn an_unreachable_replica_is_not_ready() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(ask(port).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
