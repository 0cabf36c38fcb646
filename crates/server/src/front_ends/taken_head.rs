//! Moves the head of a request.

use http::{Request, request::Parts};

/// Takes the head of a request, and leaves an empty one behind.
pub(super) fn take(head: &mut Parts) -> Parts {
    std::mem::replace(head, Request::new(()).into_parts().0)
}
