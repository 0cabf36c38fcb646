//! What a store that has lost its memory is taken to hold.

/// What a bucket that a store has never seen holds, while the store's own memory is younger than
/// the time in which the bucket fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColdStart {
    /// All of its tokens, as if its client had been silent for long.
    #[default]
    Full,
    /// The tokens that came back since the store's memory began.
    Empty,
}
