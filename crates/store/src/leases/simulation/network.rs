//! The network: it delays, reorders, loses and repeats messages.

use super::{
    random::Random,
    time::{MICROSECOND, MILLISECOND, Nanos},
};

/// How a network treats messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// The longest ordinary delay of a message.
    pub(super) slowest: Nanos,
    /// One message in so many is lost; `0` for none.
    pub(super) lost_once_in: u64,
    /// One request in so many is sent again, since its connection broke; `0` for none.
    pub(super) resent_once_in: u64,
    /// Whether messages may arrive shortly before or after the end of the lease that they are
    /// about.
    pub(super) is_hostile: bool,
    /// No message is on its way for longer.
    pub(super) longest: Nanos,
}

impl Network {
    /// Returns when a message arrives that is sent now; `None` if it is lost. `end` is the end of
    /// the lease that it is about.
    pub(super) fn arrival(
        &self,
        random: &mut Random,
        now: Nanos,
        end: Option<Nanos>,
    ) -> Option<Nanos> {
        if self.lost_once_in > 0 && random.once_in(self.lost_once_in) {
            return None;
        }
        if let Some(end) = end.filter(|end| *end > now)
            && self.is_hostile
            && random.once_in(2)
        {
            let distance = match random.index(5) {
                0 => -random.within(1, MICROSECOND),
                1 => random.within(0, MICROSECOND),
                2 => -random.within(1, 100 * MILLISECOND),
                3 => random.within(0, 600 * MILLISECOND),
                _ => -random.within(1, (end - now).max(1)),
            };
            return Some((end + distance).clamp(now + MICROSECOND, now + self.longest));
        }
        let slowest = random.pick(&[MICROSECOND, MILLISECOND, self.slowest]);
        Some(now + random.within(1, slowest))
    }

    /// Returns whether the connection breaks, so that a request is sent again.
    pub(super) fn breaks(&self, random: &mut Random) -> bool {
        self.resent_once_in > 0 && random.once_in(self.resent_once_in)
    }
}
