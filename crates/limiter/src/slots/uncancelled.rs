//! A future that goes on when its caller does not wait for it any more.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::runtime::Handle;

/// Runs to its end, also when it is dropped after its first poll: what it returns is dropped then.
///
/// So slots that the store takes for a request whose caller has gone are given back.
pub(crate) struct Uncancelled<T: Send + 'static> {
    /// `None` once it is over.
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    is_started: bool,
}

impl<T: Send + 'static> Uncancelled<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), is_started: false }
    }
}

impl<T: Send + 'static> Future for Uncancelled<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        this.is_started = true;
        let future = this.future.as_mut().expect("a future is not polled after it was ready");
        let result = ready!(future.as_mut().poll(context));
        this.future = None;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for Uncancelled<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take().filter(|_| self.is_started)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}
