//! The future that the methods of a store return.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The future that a [`Store`](crate::Store) returns: a result that is there at once, or one to
/// wait for.
///
/// `async fn` would not let a store stand behind `dyn Store`, and a box for every call would take
/// longer than the memory store's decision.
pub enum StoreFuture<'a, T> {
    /// The result; `None` once it has been returned.
    Ready(Option<T>),
    /// A future of the result.
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> StoreFuture<'a, T> {
    /// Makes a future of a result that is there; allocates nothing.
    pub const fn ready(result: T) -> Self {
        Self::Ready(Some(result))
    }

    /// Makes a future of a result that `future` will have; boxes it.
    pub fn pending(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }
}

/// The result is never pinned: moving the future moves a value or a box.
impl<T> Unpin for StoreFuture<'_, T> {}

impl<T> Future for StoreFuture<'_, T> {
    type Output = T;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Ready(result) => {
                Poll::Ready(result.take().expect("a future is not polled after it was ready"))
            }
            Self::Pending(future) => future.as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "StoreFuture::Ready",
            Self::Pending(_) => "StoreFuture::Pending",
        })
    }
}
