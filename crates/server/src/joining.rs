//! A replica joins its fleet, and does not serve beside one that it does not fit.

use std::{future::pending, io, time::Duration};

use sluice::{Conflict, Standing};
use tokio::{sync::watch::Receiver, time::timeout};

/// How long a replica waits with its first request for what the store says about its fleet. A store
/// that does not respond may do so for long, and the replica serves without it.
const FIRST_ANNOUNCEMENT: Duration = Duration::from_secs(1);

/// Why a replica ends without being stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A socket has no local address.
    #[error("a socket has no local address")]
    Socket(#[from] io::Error),
    /// The store belongs to replicas that this one does not fit.
    #[error("store: {0}")]
    Conflict(Conflict),
}

/// Waits for the first announcement to end, for a second at most, and returns the conflict that it
/// has shown.
pub(crate) async fn first_conflict(mut standing: Receiver<Standing>) -> Option<Conflict> {
    let ended = standing.wait_for(|now| !matches!(now, Standing::Joining));
    match &*timeout(FIRST_ANNOUNCEMENT, ended).await.ok()?.ok()? {
        Standing::Conflicting(conflict) => Some(conflict.clone()),
        _ => None,
    }
}

/// Resolves when an announcement shows a conflict: that of a replica which started while its store
/// was away.
pub(crate) async fn conflict(mut standing: Receiver<Standing>) -> Conflict {
    let is_conflict = |now: &Standing| matches!(now, Standing::Conflicting(_));
    if let Ok(now) = standing.wait_for(is_conflict).await
        && let Standing::Conflicting(conflict) = &*now
    {
        return conflict.clone();
    }
    // There are no announcements any more.
    pending().await
}

#[cfg(test)]
mod tests {
    use sluice::StoreError;
    use tokio::{
        sync::watch,
        time::{Instant, sleep},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_serves_once_its_first_announcement_ended_or_took_too_long() {
        for ended in [Standing::Listed, Standing::Unlisted(StoreError::BreakerOpen)] {
            let (sender, standing) = watch::channel(Standing::Joining);
            let started = Instant::now();
            let (conflict, ()) = tokio::join!(first_conflict(standing), async {
                sleep(Duration::from_millis(40)).await;
                sender.send_replace(ended);
            });
            assert_eq!((conflict, started.elapsed()), (None, Duration::from_millis(40)));
        }
        let (_sender, standing) = watch::channel(Standing::Joining);
        let started = Instant::now();
        assert_eq!(first_conflict(standing).await, None);
        assert_eq!(started.elapsed(), FIRST_ANNOUNCEMENT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_without_announcements_has_no_conflict() {
        let (sender, standing) = watch::channel(Standing::Listed);
        drop(sender);
        assert_eq!(first_conflict(standing.clone()).await, None);
        assert!(timeout(Duration::from_secs(60), conflict(standing)).await.is_err());
    }
}
