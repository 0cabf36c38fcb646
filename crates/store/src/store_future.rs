//! An answer that is there already, or comes later.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// What a store gives back: a future that costs no allocation when the answer is there already.
///
/// Not a plain `async fn`, so that stores can stand behind `dyn Store`; and not always boxed, since
/// the memory store answers in less time than a box takes.
pub enum StoreFuture<'a, T> {
    /// The answer; `None` once it was handed out.
    Ready(Option<T>),
    /// The answer is on its way.
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> StoreFuture<'a, T> {
    /// An answer that is there.
    pub const fn ready(value: T) -> Self {
        Self::Ready(Some(value))
    }

    /// An answer that `future` brings.
    pub fn pending(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }
}

/// An answer is a value or a box: moving it moves no pinned data.
impl<T> Unpin for StoreFuture<'_, T> {}

impl<T> Future for StoreFuture<'_, T> {
    type Output = T;

    /// # Panics
    /// When polled again after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Ready(value) => Poll::Ready(value.take().expect("an answer is taken once")),
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
