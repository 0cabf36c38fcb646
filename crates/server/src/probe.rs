//! `sluice health`: requests `/ready` from a replica, for containers without an HTTP client.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than a replica takes to check its store, and shorter than the timeout of a container's
/// health check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than a replica's response has. Another program may listen on the port.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// A replica's response to `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the replica accepts requests.
    pub ready: bool,
    /// The body of the response, in JSON.
    pub body: String,
}

/// Requests `/ready` from the replica at `address`.
///
/// # Errors
///
/// [`io::Error`] if nothing listens there, no response comes within two seconds, or the response is
/// not HTTP.
pub fn readiness(address: SocketAddr) -> io::Result<Readiness> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0, so that the body has no chunks and ends with the connection.
    stream.write_all(format!("GET /ready HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    read(stream)
}

fn read(stream: impl Read) -> io::Result<Readiness> {
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response)?;
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.strip_prefix("HTTP/1.").and_then(|rest| rest.split([' ', '\r']).nth(1)) {
        Some(status) => Ok(Readiness { ready: status == "200", body: body.trim_end().to_owned() }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(response: &str) -> io::Result<Readiness> {
        read(response.as_bytes())
    }

    #[test]
    fn only_status_200_is_ready() {
        let ready = parsed(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"ready\"}\n",
        )
        .unwrap();
        assert_eq!(ready, Readiness { ready: true, body: "{\"status\":\"ready\"}".to_owned() });
        let stopping =
            parsed("HTTP/1.0 503 Service Unavailable\r\n\r\n{\"status\":\"stopping\"}").unwrap();
        let body = "{\"status\":\"stopping\"}".to_owned();
        assert_eq!(stopping, Readiness { ready: false, body });
    }

    #[test]
    fn a_response_that_is_not_http_is_an_error() {
        for response in ["", "-ERR unknown command 'GET'\r\n", "HTTP/1.1", "\r\n"] {
            let error = parsed(response).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{response:?}");
        }
    }

    #[test]
    fn an_endless_response_is_cut_off() {
        let endless = b"HTTP/1.1 200 OK\r\n\r\n".chain(io::repeat(b'x'));
        let max = usize::try_from(MAX_RESPONSE_BYTES).unwrap();
        assert!(read(endless).unwrap().body.len() < max);
    }

    #[test]
    fn a_port_without_a_listener_is_an_error() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(readiness(port).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
