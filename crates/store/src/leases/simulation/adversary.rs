//! A driver that wants to break the promise. It lets the bucket fill up, lets replicas lease, and
//! then strikes: everything is spent and taken around the instant at which leases end.

use sluice_core::Term;

use super::{
    act::Act,
    driver::{Driver, View},
    mischief::{Mischief, Steps},
    random::Random,
    replica::Lease,
    time::{MICROSECOND, MILLISECOND, Nanos, SECOND},
};

/// The tokens of every lease, whatever its size.
const ALL: u64 = u64::MAX;

/// A clever attacker.
#[derive(Debug)]
pub(super) struct Adversary {
    pub(super) mischief: Mischief,
    /// When it strikes next.
    pub(super) strike: Nanos,
}

impl Driver for Adversary {
    /// Plans a strike.
    fn choose(&mut self, view: &View<'_>, random: &mut Random) -> Vec<(Nanos, Act)> {
        if self.mischief.steps == Steps::Back && random.once_in(2) {
            return self.step_between_terms(view, random);
        }
        // The bucket fills up, or does not quite.
        let fill = view.fill().min(6 * SECOND);
        let rest = random.pick(&[0, fill / 3, fill + fill / 10]);
        let begin = view.now + random.within(0, rest.max(MILLISECOND));
        let term = SECOND - (view.store_now().unix_micros() * MICROSECOND).rem_euclid(SECOND);
        // The next term begins here, and the lease is granted shortly before, after, or whenever.
        let next_term = begin + (view.now + term - begin).rem_euclid(SECOND);
        let begin = match random.index(4) {
            0 => next_term - random.within(0, MILLISECOND),
            1 => next_term + random.within(0, MILLISECOND),
            _ => begin + random.within(0, SECOND),
        }
        .max(view.now);
        let end = (begin - next_term).div_euclid(SECOND) * SECOND + next_term + 2 * SECOND;
        self.strike = match random.index(8) {
            0 => random.within(begin, end),
            1 => end - random.within(0, 25 * MILLISECOND),
            2 | 3 => end + random.within(0, MICROSECOND),
            4 | 5 => end + random.within(0, 25 * MILLISECOND),
            6 => end + random.within(0, SECOND),
            _ => end - SECOND + random.within(0, MILLISECOND),
        };
        let mut acts = vec![(self.strike + random.within(0, 300 * MILLISECOND), Act::Choose)];
        for replica in 0..view.replicas.len() {
            for _ in 0..=random.index(2) {
                let asked = begin + self.soon(random);
                let burst = view.rate.burst();
                let want = if random.once_in(2) { burst } else { random.tokens(1, burst) };
                acts.push((asked, Act::Ask { replica, want }));
            }
        }
        if random.once_in(3) {
            let tokens = random.tokens(1, view.rate.burst());
            acts.push((begin + self.soon(random), Act::Take { tokens }));
        }
        // Most of the time nothing else looks at the bucket before the strike.
        if random.once_in(3) {
            acts.push((random.within(begin, self.strike.max(begin)), Act::TakeAll));
        }
        for _ in 0..=random.index(2) {
            acts.push((self.strike + self.soon(random), Act::TakeAll));
        }
        for replica in 0..view.replicas.len() {
            let spend = Act::Spend { replica, tokens: ALL, stopped_for: 0 };
            acts.extend([(self.strike, spend), (self.strike, spend)]);
        }
        if random.once_in(3) {
            let time = (self.strike - view.now).max(1);
            acts.extend(self.mischief.choose(view, random, time));
        }
        acts
    }

    /// Plans the end of a lease.
    fn granted(
        &mut self,
        replica: usize,
        lease: Lease,
        view: &View<'_>,
        random: &mut Random,
    ) -> Vec<(Nanos, Act)> {
        let clock = view.replicas[replica].clock;
        let last = clock.last_before(lease.deadline).max(view.now);
        let just_before = last - random.pick(&[0, MICROSECOND, MILLISECOND]);
        let stop = self.stop(random, self.strike - last);
        let spend = |tokens, stopped_for| Act::Spend { replica, tokens, stopped_for };
        let settle = |stopped_for| Act::Settle { replica, stopped_for };
        match random.index(9) {
            0 => vec![(last, spend(ALL, 0))],
            1 => vec![(last, spend(ALL, 0)), (last, Act::TakeAll)],
            2 => vec![(last, Act::TakeAll), (last, spend(ALL, 0))],
            3 => vec![(just_before, spend(ALL, stop)), (just_before + stop, Act::TakeAll)],
            4 => {
                // Everything is taken before a late settlement arrives, and again after it.
                let end = view.now + self.until_end(view);
                let take = |at| (end + at, Act::TakeAll);
                vec![
                    (just_before, settle(stop)),
                    take(random.within(0, 300 * MILLISECOND)),
                    take(random.within(300 * MILLISECOND, 700 * MILLISECOND)),
                ]
            }
            5 => vec![(view.now, settle(0))],
            6 => vec![
                (view.now, spend(random.tokens(1, lease.lent), 0)),
                (view.now + self.soon(random), Act::Report { replica }),
                (just_before, settle(0)),
            ],
            7 => vec![(view.now, spend(random.tokens(1, lease.lent), 0)), (view.now, settle(0))],
            _ => Vec::new(),
        }
    }
}

impl Adversary {
    /// Plans a step of the store's clock while leases of two terms are alive: their terms recur.
    fn step_between_terms(&mut self, view: &View<'_>, random: &mut Random) -> Vec<(Nanos, Act)> {
        let step = view.now + random.within(SECOND, 3 * SECOND);
        self.strike = step + random.within(SECOND, 3 * SECOND);
        let micros = -random.within(500_000, 3_000_000);
        let mut acts = vec![
            (step, Act::Step { micros }),
            (self.strike, Act::TakeAll),
            (self.strike + random.within(0, SECOND), Act::Choose),
        ];
        for replica in 0..view.replicas.len() {
            for _ in 0..=random.index(3) {
                let asked = step + random.within(-SECOND, SECOND);
                acts.push((asked, Act::Ask { replica, want: view.rate.burst() / 3 + 1 }));
            }
            if random.once_in(2) {
                let settled = step + random.within(0, 2 * SECOND);
                acts.push((settled, Act::Settle { replica, stopped_for: 0 }));
            }
        }
        acts
    }

    fn soon(&self, random: &mut Random) -> Nanos {
        let longest = random.pick(&[1, MICROSECOND, MILLISECOND, 50 * MILLISECOND]);
        // With steps of the clock, leases of several terms are alive together.
        let longest = if self.mischief.steps == Steps::None { longest } else { longest * 20 };
        random.within(0, longest)
    }

    /// Returns how long a lease lasts at the store, if it was granted in this term.
    fn until_end(&self, view: &View<'_>) -> Nanos {
        view.store.when(Term::at(view.store_now()).lease_end()) - view.now
    }

    fn stop(&self, random: &mut Random, until_strike: Nanos) -> Nanos {
        if !self.mischief.stops {
            return 0;
        }
        let choices = [MICROSECOND, 20 * MILLISECOND, SECOND, until_strike.max(1)];
        let longest = random.pick(&choices);
        if random.once_in(2) { longest } else { random.within(0, longest) }
    }
}
