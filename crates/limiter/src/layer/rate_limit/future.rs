use std::{
    fmt, mem,
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

use super::{body::RateLimitBody, check::CheckedHead, rejection};
use crate::{layer::MatchedEndpoint, response::headers, slots::HeldSlots};

/// A check that is not finished. It borrows from the request's head that it holds, so it must not
/// move.
type Check = Pin<Box<dyn Future<Output = CheckedHead> + Send>>;

pin_project! {
    /// The response to a request, once it is checked.
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
        // The service to call with the request's body if it is allowed; taken after the check.
        Checking { check: Check, waiting: Option<(S, B)> },
        Responding {
            #[pin]
            response: S::Future,
            decision: Decision,
            endpoint: Arc<str>,
            slots: HeldSlots,
        },
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
                    let CheckedHead { mut head, checked } = ready!(check.as_mut().poll(context));
                    let (mut service, body) =
                        waiting.take().expect("a future is not polled after it was ready");
                    let checked = match checked {
                        Ok(checked) => checked,
                        Err(rejection) => {
                            return Poll::Ready(Ok(rejection
                                .respond(&head.headers)
                                .map(RateLimitBody::rejection)));
                        }
                    };
                    if let Some(mut response) = rejection::deny(&checked.decision, &head.headers) {
                        let endpoint = MatchedEndpoint::from(Arc::clone(checked.endpoint()));
                        response.extensions_mut().insert(endpoint);
                        return Poll::Ready(Ok(response.map(RateLimitBody::rejection)));
                    }
                    let (decision, endpoint) =
                        (checked.decision.clone(), Arc::clone(checked.endpoint()));
                    let slots = checked.slots().clone();
                    head.extensions.insert(checked);
                    State::Responding {
                        response: service.call(Request::from_parts(head, body)),
                        decision,
                        endpoint,
                        slots,
                    }
                }
                StateProjection::Responding { response, decision, endpoint, slots } => {
                    let mut response = ready!(response.poll(context))?;
                    headers::write(decision, response.headers_mut());
                    response.extensions_mut().insert(MatchedEndpoint::from(Arc::clone(endpoint)));
                    let slots = mem::take(slots);
                    return Poll::Ready(Ok(response.map(|body| RateLimitBody::inner(body, slots))));
                }
            };
            state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for RateLimitFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Checking { .. } => "checking",
            State::Responding { .. } => "responding",
        };
        f.debug_struct("RateLimitFuture").field("state", &state).finish_non_exhaustive()
    }
}
