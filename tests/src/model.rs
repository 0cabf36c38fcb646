//! A vendor of language models that answers as a test says.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::received_request::{ReceivedRequest, ServerConnection};

/// An HTTP/1.1 server on a port of its own that gives every request the same answer.
///
/// It runs until the test's runtime ends.
#[derive(Debug)]
pub struct FakeModel {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<ReceivedRequest>>,
    /// One permit for each piece that may be sent.
    pieces: Semaphore,
    /// How many clients left before the answer was complete.
    left: AtomicUsize,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole answer.
    Whole {
        /// The status.
        status: u16,
        /// Header fields, each with its line's end.
        fields: String,
        /// The body.
        body: Vec<u8>,
    },
    /// A stream of events. Its first piece is sent at once, and each other piece when
    /// [`FakeModel::release`] says so.
    Stream(Vec<Vec<u8>>),
    /// A stream of events that begins so and then breaks off.
    Broken(Vec<u8>),
    /// What this function makes of the request.
    Chosen(fn(&ReceivedRequest) -> Answer),
    /// A whole answer, which waits for [`FakeModel::release`].
    Late(Vec<u8>),
}

impl Answer {
    /// A successful answer in JSON.
    #[must_use]
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole {
            status: 200,
            fields: "content-type: application/json\r\n".to_owned(),
            body: body.into(),
        }
    }

    /// A stream of events in one piece.
    #[must_use]
    pub fn events(body: impl Into<Vec<u8>>) -> Self {
        Self::Stream(vec![body.into()])
    }
}

// === impl FakeModel ===

impl FakeModel {
    /// Starts the server on any port.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            requests: Mutex::default(),
            pieces: Semaphore::new(0),
            left: AtomicUsize::new(0),
        });
        let of_connections = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&of_connections);
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { address, shared }
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Sends the next pieces of streams, or late answers.
    pub fn release(&self, pieces: usize) {
        self.shared.pieces.add_permits(pieces);
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many clients left before the answer was complete.
    #[must_use]
    pub fn left(&self) -> usize {
        self.shared.left.load(Ordering::Relaxed)
    }
}

// === impl Shared ===

impl Shared {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = ServerConnection::new(stream);
        while let Some(request) = connection.next().await? {
            let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            while let Answer::Chosen(choose) = answer {
                answer = choose(&request);
            }
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let stream = &mut connection.stream;
            match answer {
                Answer::Whole { status, fields, body } => {
                    whole(stream, status, &fields, &body).await?;
                }
                Answer::Late(body) => {
                    self.permit(stream).await?;
                    whole(stream, 200, "content-type: application/json\r\n", &body).await?;
                }
                Answer::Stream(pieces) => {
                    begin_stream(stream).await?;
                    for (index, piece) in pieces.iter().enumerate() {
                        if index > 0 {
                            self.permit(stream).await?;
                        }
                        chunk(stream, piece).await?;
                    }
                    stream.write_all(b"0\r\n\r\n").await?;
                }
                // Chosen above.
                Answer::Chosen(_) => {}
                Answer::Broken(piece) => {
                    begin_stream(stream).await?;
                    return chunk(stream, &piece).await;
                }
            }
        }
        Ok(())
    }

    /// Waits for a piece that may be sent, unless the client leaves.
    async fn permit(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut nothing = [0; 1];
        tokio::select! {
            permit = self.pieces.acquire() => {
                permit.map_err(io::Error::other)?.forget();
                Ok(())
            }
            read = stream.read(&mut nothing) => {
                self.left.fetch_add(1, Ordering::Relaxed);
                Err(io::Error::other(format!("the client left: {read:?}")))
            }
        }
    }
}

async fn whole(stream: &mut TcpStream, status: u16, fields: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{fields}content-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await
}

async fn begin_stream(stream: &mut TcpStream) -> io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).await
}

async fn chunk(stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
    let size = format!("{:x}\r\n", piece.len());
    stream.write_all(&[size.as_bytes(), piece, b"\r\n"].concat()).await
}
