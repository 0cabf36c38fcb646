//! What a bucket holds that the store has not seen since its memory began.

/// What a bucket holds that the store has not seen since its memory began.
///
/// A store loses its memory when its server is flushed, restarts without its data, or fails over to
/// a server that has none. It begins anew then, as it does when a fleet starts for the first time.
/// The choice matters until the memory is as old as a bucket needs to fill; afterwards, a bucket
/// that was never seen is full in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColdStart {
    /// The bucket is full: every client has its burst once more after a loss.
    #[default]
    Full,
    /// The bucket was empty when the memory began, and has refilled since: nobody gets more than
    /// the refill, and a client that is new waits for its first token.
    Empty,
}
