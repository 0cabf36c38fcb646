use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use sluice_core::Decision;
use tower_service::Service;

use super::{body::RateLimitBody, check::Asked, refusal};
use crate::{checked::Checked, layer::Endpoint, response::headers};

/// A check under way. It borrows from the request's head that it holds, so it needs a place that
/// does not move.
type Check = Pin<Box<dyn Future<Output = Asked> + Send>>;

pin_project! {
    /// The answer to a request, once it is checked.
    ///
    /// See the [module docs](super) for an example.
    pub struct RateLimitFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        // What to call with the request's body, if it may pass; taken when it is known.
        Checking { check: Check, waiting: Option<(S, B)> },
        Answering { #[pin] answer: S::Future, checked: Checked },
    }
}

impl<S, B> RateLimitFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) const fn new(check: Check, service: S, body: B) -> Self {
        Self { state: State::Checking { check, waiting: Some((service, body)) } }
    }
}

impl<S, B, ResponseBody> Future for RateLimitFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResponseBody>>,
    ResponseBody: Body,
    ResponseBody::Data: From<Bytes>,
{
    type Output = Result<Response<RateLimitBody<ResponseBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Checking { check, waiting } => {
                    let Asked { head, checked } = ready!(check.as_mut().poll(context));
                    let (mut service, body) =
                        waiting.take().expect("it is not polled after it was ready");
                    let checked = match checked {
                        Ok(checked) => checked,
                        Err(refusal) => {
                            return Poll::Ready(Ok(refusal
                                .respond(&head.headers)
                                .map(RateLimitBody::refusal)));
                        }
                    };
                    if let Some(mut response) = refusal::deny(&checked.decision, &head.headers) {
                        response.extensions_mut().insert(Endpoint::from(checked.endpoint));
                        return Poll::Ready(Ok(response.map(RateLimitBody::refusal)));
                    }
                    State::Answering {
                        answer: service.call(Request::from_parts(head, body)),
                        checked,
                    }
                }
                StateProjection::Answering { answer, checked } => {
                    let mut response = ready!(answer.poll(context))?;
                    tell(&checked.decision, &checked.endpoint, &mut response);
                    return Poll::Ready(Ok(response.map(RateLimitBody::within)));
                }
            };
            state.set(next);
        }
    }
}

/// Adds to an answer what the check of its request came to.
fn tell<B>(decision: &Decision, endpoint: &Arc<str>, response: &mut Response<B>) {
    headers::write(decision, response.headers_mut());
    response.extensions_mut().insert(Endpoint::from(Arc::clone(endpoint)));
}

impl<S, B> fmt::Debug for RateLimitFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Checking { .. } => "checking",
            State::Answering { .. } => "answering",
        };
        f.debug_struct("RateLimitFuture").field("state", &state).finish_non_exhaustive()
    }
}
