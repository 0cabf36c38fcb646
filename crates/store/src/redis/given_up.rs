//! Notices calls that fail, or that their callers give up.

/// Runs `on_trouble` when it is dropped, unless the call ended well.
///
/// A caller with a timeout drops the call before the call's own timeouts end. What it would have
/// noted as an error must be noted then too: a server that hangs shows in nothing else.
pub(super) struct UnlessWell<F: FnMut()> {
    on_trouble: F,
    is_well: bool,
}

impl<F: FnMut()> UnlessWell<F> {
    pub(super) const fn new(on_trouble: F) -> Self {
        Self { on_trouble, is_well: false }
    }

    /// Notes that the call ended well.
    pub(super) fn end(mut self) {
        self.is_well = true;
    }
}

impl<F: FnMut()> Drop for UnlessWell<F> {
    fn drop(&mut self) {
        if !self.is_well {
            (self.on_trouble)();
        }
    }
}
