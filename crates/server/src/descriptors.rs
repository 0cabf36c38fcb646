//! File descriptors: each connection needs one, and probes must get theirs too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that are not for connections of clients: the store's connections, files, and
/// the runtime's own.
const RESERVED: u64 = 192;

/// Raises the number of descriptors that the process may have to the most that the system permits
/// it, and returns that number; `None` is without a limit.
///
/// The usual limit of 1,024 exists for programs that call `select`.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // An error leaves the limit as it was.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// Returns the most connections that each of `ports` may have, when the process may have
/// `descriptors`. A gateway needs a second descriptor for each request.
pub(crate) fn connections_per_port(descriptors: u64, ports: u64, is_gateway: bool) -> usize {
    let shares = ports + u64::from(is_gateway);
    let share = descriptors.saturating_sub(RESERVED) / shares.max(1);
    usize::try_from(share.max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_share_what_is_left() {
        assert_eq!(connections_per_port(1_192, 2, false), 500);
        assert_eq!(connections_per_port(1_192, 3, true), 250);
        assert_eq!(connections_per_port(10, 2, false), 1, "one is the least");
    }
}
