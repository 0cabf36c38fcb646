//! Faults that can be planted. The simulation must find each of them.

/// A fault of a store, a replica or the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bucket refills to its burst whatever is out.
    RefillsToTheBurst,
    /// The tokens of a lease that has ended return to the bucket.
    ReturnsWhatHasEnded,
    /// The bucket is capped only by what is out at a look, not by what was out before.
    CapsLazily,
    /// The store forgets a bucket that looks full while tokens are out.
    ForgetsWhileTokensAreOut,
    /// The store accepts a settlement of a lease that has ended.
    SettlesWhatHasEnded,
    /// A replica sends a settlement twice.
    SettlesTwice,
    /// A replica counts a lease's time from the reply, not from the request.
    CountsFromTheReply,
    /// A replica looks at the clock and then takes the token.
    LooksFirst,
    /// A replica has no margin for clocks that run at different rates.
    HasNoMargin,
    /// A settlement is sent again when its connection breaks.
    ResendsSettlements,
}
