//! A driver that does anything at any time.

use super::{
    act::Act,
    driver::{Driver, View},
    mischief::Mischief,
    random::Random,
    replica::Lease,
    time::{MICROSECOND, MILLISECOND, Nanos, SECOND},
};

/// Random traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) mischief: Mischief,
}

impl Driver for Traffic {
    fn choose(&mut self, view: &View<'_>, random: &mut Random) -> Vec<(Nanos, Act)> {
        let longest = random.pick(&[MILLISECOND, 100 * MILLISECOND, SECOND]);
        let pause = random.within(MICROSECOND, longest);
        let mut acts = vec![(view.now + pause, Act::Choose)];
        if random.once_in(3) {
            acts.extend(self.mischief.choose(view, random, pause));
        }
        let burst = view.rate.burst();
        for _ in 0..random.index(6) {
            let replica = random.index(view.replicas.len());
            let tokens = random.tokens(1, burst);
            let act = match random.index(10) {
                0..3 => Act::Ask { replica, want: tokens },
                3..6 => Act::Spend { replica, tokens, stopped_for: self.stop(random) },
                6 => Act::Settle { replica, stopped_for: self.stop(random) },
                7 => Act::Report { replica },
                8 => Act::Take { tokens },
                _ => Act::TakeAll,
            };
            acts.push((view.now + random.within(0, pause), act));
        }
        acts
    }

    fn granted(
        &mut self,
        _replica: usize,
        _lease: Lease,
        _view: &View<'_>,
        _random: &mut Random,
    ) -> Vec<(Nanos, Act)> {
        Vec::new()
    }
}

impl Traffic {
    fn stop(&self, random: &mut Random) -> Nanos {
        if self.mischief.stops && random.once_in(5) { random.within(0, 2 * SECOND) } else { 0 }
    }
}
