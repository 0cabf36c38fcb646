//! What can happen.

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Half a second passes.
    Step,
    /// Another client takes a token exactly.
    Take,
    /// A replica asks for a lease.
    Ask { replica: u8, want: u8 },
    /// A message arrives.
    Deliver { message: u8 },
    /// A message is lost.
    Lose { message: u8 },
    /// A replica admits a token of a lease.
    Spend { replica: u8, holding: u8 },
    /// A replica ends a lease.
    Settle { replica: u8, holding: u8 },
    /// A replica reports what it has spent of a lease, and holds the rest.
    Report { replica: u8, holding: u8 },
}
