//! What may go wrong in a schedule beside its traffic, and what other clients do.

use super::{
    act::Act,
    driver::View,
    random::Random,
    time::{MILLISECOND, Nanos, SECOND},
};

/// What may happen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mischief {
    pub(super) stops: bool,
    pub(super) crashes: bool,
    pub(super) steps: Steps,
    pub(super) failovers: bool,
    /// The number of rates that the limit changes between.
    pub(super) rates: usize,
    /// Whether clients charge, give back, peek and reset.
    pub(super) other_actions: bool,
}

/// How the store's clock steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Steps {
    #[default]
    None,
    Back,
    Forward,
}

impl Mischief {
    /// Returns what happens within `time` from now.
    pub(super) fn choose(
        self,
        view: &View<'_>,
        random: &mut Random,
        time: Nanos,
    ) -> Vec<(Nanos, Act)> {
        let mut acts = Vec::new();
        let mut add = |random: &mut Random, act| {
            acts.push((view.now + random.within(0, time), act));
        };
        let replica = random.index(view.replicas.len());
        if self.stops && random.once_in(3) {
            let longest = random.pick(&[10 * MILLISECOND, SECOND, 3 * SECOND]);
            let time = random.within(1, longest);
            add(random, Act::Stop { replica, time });
        }
        if self.crashes && random.once_in(6) {
            add(random, Act::Crash { replica });
        }
        if self.steps != Steps::None && random.once_in(3) {
            let longest = random.pick(&[50_000, 1_000_000, 5_000_000]);
            let micros = random.within(1, longest);
            let micros = if self.steps == Steps::Back { -micros } else { micros };
            add(random, Act::Step { micros });
        }
        if self.failovers && random.once_in(3) {
            let lag = random.within(0, 100 * MILLISECOND);
            add(random, Act::FailOver { lag });
        }
        if self.rates > 1 && random.once_in(3) {
            let index = random.index(self.rates);
            add(random, Act::ChangeRate { index });
        }
        if self.other_actions {
            let burst = view.rate.burst();
            for _ in 0..random.index(4) {
                let tokens = random.tokens(1, burst);
                let act = match random.index(8) {
                    0 => Act::Charge { tokens },
                    1 => Act::Reset,
                    2 | 3 => Act::GiveBack { tokens },
                    4 | 5 => Act::Peek,
                    _ => Act::Take { tokens },
                };
                add(random, act);
            }
        }
        acts
    }
}
