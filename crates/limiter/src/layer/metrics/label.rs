use http::Extensions;

/// Says which endpoint a request is for.
///
/// Implemented for `()`, which does not know, and for closures.
pub trait Label {
    /// The pattern that the request's path matched, if one did.
    fn endpoint<'r>(&self, request: &'r Extensions) -> Option<&'r str>;
}

impl Label for () {
    fn endpoint<'r>(&self, _: &'r Extensions) -> Option<&'r str> {
        None
    }
}

impl<F: for<'r> Fn(&'r Extensions) -> Option<&'r str>> Label for F {
    fn endpoint<'r>(&self, request: &'r Extensions) -> Option<&'r str> {
        self(request)
    }
}
