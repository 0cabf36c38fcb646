//! The log of lost slots.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sluice_core::OnLost;
use tokio::time::Instant;

/// How often lost slots are logged at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Logs lost slots, at most once in [`PAUSE`].
#[derive(Debug, Default)]
pub(super) struct LostLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logged_at: Option<Instant>,
    /// The slots that were lost and not logged.
    unlogged: u64,
}

impl LostLog {
    /// Notes slots that were lost.
    pub(super) fn lost(&self, limit: &str, slots: u64, on_lost: OnLost) {
        let Some(slots) = self.to_log(slots, Instant::now()) else { return };
        let fate = match on_lost {
            OnLost::Finish => "they go on, and count anew once the store answers",
            OnLost::Cut => "they are cut off",
        };
        tracing::warn!(
            limit,
            slots,
            "slots of requests in flight were not renewed in time, so that others may have them: \
             {fate}"
        );
    }

    /// Returns how many slots a line that is logged at `now` is about.
    fn to_log(&self, slots: u64, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unlogged = state.unlogged.saturating_add(slots);
        if state.logged_at.is_some_and(|at| now < at + PAUSE) {
            return None;
        }
        state.logged_at = Some(now);
        Some(std::mem::take(&mut state.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_has_all_slots_that_were_lost_since_the_last_one() {
        let (log, now) = (LostLog::default(), Instant::now());
        assert_eq!(log.to_log(2, now), Some(2));
        assert_eq!(log.to_log(3, now + PAUSE / 2), None);
        assert_eq!(log.to_log(1, now + PAUSE), Some(4));
    }
}
