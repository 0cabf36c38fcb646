//! A text that many may ask for at once, and that is expensive to make: the metrics, and the pages
//! of `/monitoring`.
//!
//! It is made away from the threads that decide, once at a time, and whoever asks meanwhile shares
//! the next one. Clients that do not read what they asked for hold a few texts in memory, however
//! many clients there are.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use sluice_http::{Problem, ProblemKind};
use tokio::{sync::Mutex, time::Instant};

/// The most texts in memory that clients are still reading. Beyond it, a new request gets the last
/// one again.
const MAX_TEXTS: usize = 4;
/// How long a client may take to read a text: longer than Prometheus waits for a scrape.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a text is handed to the connection at once.
const PART_BYTES: usize = 16 << 10;

/// A text that is made on request. Cheap to clone; clones share the texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedText {
    /// How many texts were begun.
    begun: Arc<AtomicU64>,
    /// Locked while a text is made.
    last: Arc<Mutex<Texts>>,
}

#[derive(Debug, Default)]
struct Texts {
    /// The number of the last text, from 1.
    number: u64,
    last: Option<Arc<Bytes>>,
    /// The texts that are being read, and some that no longer are.
    read: Vec<Weak<Bytes>>,
}

/// A text as the body of a response.
#[derive(Debug)]
struct TextBody {
    text: Arc<Bytes>,
    position: usize,
    deadline: Instant,
}

/// A client did not read the text in time.
#[derive(Debug, thiserror::Error)]
#[error("the client did not read the text within {} s", READ_TIMEOUT.as_secs())]
struct TooSlow;

impl SharedText {
    /// Returns a text that was begun after this call, as the body of a response. `make` is called
    /// if nobody else makes one.
    pub(crate) async fn get<F>(&self, make: impl FnOnce() -> F) -> Result<Body, Problem>
    where
        F: Future<Output = Result<Bytes, Problem>> + Send + 'static,
    {
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut texts = Arc::clone(&self.last).lock_owned().await;
        let may_share = texts.number > begun_before || texts.are_many();
        let text = match texts.last.clone().filter(|_| may_share) {
            Some(text) => text,
            None => {
                texts.number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
                texts.last = None;
                let making = make();
                // A task of its own keeps the lock when the client gives up. Otherwise, a client
                // that asks and gives up again would have many texts made at a time.
                let made = tokio::spawn(async move {
                    let text = Arc::new(making.await?);
                    texts.last = Some(Arc::clone(&text));
                    texts.read.push(Arc::downgrade(&text));
                    Ok(text)
                });
                made.await.unwrap_or_else(|_| {
                    Err(Problem::new(ProblemKind::Internal, "the text could not be made"))
                })?
            }
        };
        let deadline = Instant::now() + READ_TIMEOUT;
        Ok(Body::new(TextBody { text, position: 0, deadline }))
    }
}

impl Texts {
    /// Returns whether clients are reading too many texts for one more.
    fn are_many(&mut self) -> bool {
        self.read.retain(|text| text.strong_count() > 0);
        self.read.len() >= MAX_TEXTS
    }
}

impl HttpBody for TextBody {
    type Data = Bytes;
    type Error = TooSlow;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooSlow>>> {
        let (from, to) = (self.position, self.text.len().min(self.position + PART_BYTES));
        if from == to {
            return Poll::Ready(None);
        }
        if Instant::now() > self.deadline {
            return Poll::Ready(Some(Err(TooSlow)));
        }
        self.position = to;
        // A part holds its text, so that the text counts as being read.
        let part = Bytes::from_owner(Part { text: Arc::clone(&self.text), from, to });
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.text.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.text.len() - self.position) as u64)
    }
}

/// A part of a text.
struct Part {
    text: Arc<Bytes>,
    from: usize,
    to: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.text[self.from..self.to]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::body::to_bytes;
    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Makes texts with their number, when it is permitted.
    struct Maker {
        shared: SharedText,
        made: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
    }

    impl Maker {
        fn new(permits: usize) -> Self {
            let permits = Arc::new(Semaphore::new(permits));
            Self { shared: SharedText::default(), made: Arc::default(), permits }
        }

        fn get(&self) -> impl Future<Output = Body> + use<> {
            let (shared, made) = (self.shared.clone(), Arc::clone(&self.made));
            let permits = Arc::clone(&self.permits);
            async move {
                let make = || async move {
                    permits.acquire().await.unwrap().forget();
                    let number = made.fetch_add(1, Ordering::SeqCst) + 1;
                    Ok(Bytes::from(number.to_string().repeat(40_000)))
                };
                shared.get(make).await.unwrap()
            }
        }
    }

    async fn first_byte(body: Body) -> u8 {
        to_bytes(body, usize::MAX).await.unwrap()[0]
    }

    #[tokio::test]
    async fn one_text_serves_all_who_asked_before_it_was_begun() {
        let maker = Maker::new(0);
        let first = tokio::spawn(maker.get());
        while maker.shared.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..50).map(|_| tokio::spawn(maker.get())).collect();
        tokio::task::yield_now().await;
        maker.permits.add_permits(100);
        assert_eq!(first_byte(first.await.unwrap()).await, b'1');
        for other in others {
            assert_eq!(first_byte(other.await.unwrap()).await, b'2', "the first began too early");
        }
        assert_eq!(maker.made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn each_request_gets_a_text_that_was_begun_after_it() {
        let maker = Maker::new(100);
        for number in b"123" {
            assert_eq!(first_byte(maker.get().await).await, *number);
        }
    }

    #[tokio::test]
    async fn clients_that_do_not_read_hold_only_a_few_texts() {
        let maker = Maker::new(1_000);
        let mut unread = Vec::new();
        for _ in 0..100 {
            unread.push(maker.get().await);
        }
        assert_eq!(maker.made.load(Ordering::SeqCst), MAX_TEXTS);
        drop(unread);
        assert_eq!(first_byte(maker.get().await).await, b'5', "texts are made again");
    }

    #[tokio::test]
    async fn a_client_that_gives_up_does_not_begin_a_second_text() {
        let maker = Maker::new(0);
        let impatient = tokio::spawn(maker.get());
        while maker.shared.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        impatient.abort();
        let patient = tokio::spawn(maker.get());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(maker.shared.begun.load(Ordering::SeqCst), 1, "the first is still being made");
        maker.permits.add_permits(2);
        assert_eq!(first_byte(patient.await.unwrap()).await, b'2');
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_cut_off() {
        let mut body = Maker::new(1).get().await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(READ_TIMEOUT * 2).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_text_that_cannot_be_made_is_a_problem_and_is_made_again() {
        let shared = SharedText::default();
        let fail = || async { Err(Problem::new(ProblemKind::Internal, "failed")) };
        assert!(shared.get(fail).await.is_err());
        let body = shared.get(|| async { Ok(Bytes::from_static(b"x")) }).await.unwrap();
        assert_eq!(first_byte(body).await, b'x');
    }
}
