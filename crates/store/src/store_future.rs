//! The future that the methods of a store return.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The future that a [`Store`](crate::Store) returns: a result that is there at once, or a box of
/// one to wait for.
///
/// `async fn` would not let a store stand behind `dyn Store`, and a box for every call would take
/// longer than the memory store's decision.
pub type StoreFuture<'a, T> = MaybeReady<T, Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

/// A result that is there at once, or a future to wait for.
pub enum MaybeReady<T, F> {
    /// The result; `None` once it has been returned.
    Ready(Option<T>),
    /// A future of the result.
    Pending(F),
}

impl<T, F> MaybeReady<T, F> {
    /// Makes a future of a result that is there; allocates nothing.
    pub const fn ready(result: T) -> Self {
        Self::Ready(Some(result))
    }

    /// Boxes the future if there is one to wait for.
    pub fn boxed<'a>(self) -> StoreFuture<'a, T>
    where
        F: Future<Output = T> + Send + 'a,
    {
        match self {
            Self::Ready(result) => MaybeReady::Ready(result),
            Self::Pending(future) => StoreFuture::pending(future),
        }
    }
}

impl<'a, T> StoreFuture<'a, T> {
    /// Makes a future of a result that `future` will have; boxes it.
    pub fn pending(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }

    /// Returns the result if it is there, so that nothing has to be polled; otherwise the future.
    ///
    /// # Errors
    /// The future, when its result has to be waited for or has been returned already.
    pub fn into_ready(self) -> Result<T, Self> {
        match self {
            Self::Ready(Some(result)) => Ok(result),
            future => Err(future),
        }
    }
}

/// The result is never pinned: moving the future moves a value or a box.
impl<T, F: Unpin> Unpin for MaybeReady<T, F> {}

impl<T, F: Future<Output = T> + Unpin> Future for MaybeReady<T, F> {
    type Output = T;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Ready(result) => {
                Poll::Ready(result.take().expect("a future is not polled after it was ready"))
            }
            Self::Pending(future) => Pin::new(future).poll(context),
        }
    }
}

impl<T, F> fmt::Debug for MaybeReady<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "StoreFuture::Ready",
            Self::Pending(_) => "StoreFuture::Pending",
        })
    }
}
