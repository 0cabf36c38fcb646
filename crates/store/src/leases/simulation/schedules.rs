//! Schedules of each kind, from seeds.

use super::{
    adversary::Adversary,
    driver::Driver,
    fault::Fault,
    mischief::{Mischief, Steps},
    network::Network,
    oracle::Excess,
    random::Random,
    replica::Replica,
    time::{MILLISECOND, Nanos, ReplicaClock, SECOND},
    traffic::Traffic,
    world::{Start, Totals, World},
};

/// How long a schedule lasts.
const LENGTH: Nanos = 30 * SECOND;

/// The rates and bursts of the limits. A lease is a multiple of seven tokens at one of them.
const RATES: [&str; 7] = [
    "100/second, burst 100",
    "10/second, burst 40",
    "7000/second, burst 700",
    "1000/second, burst 5000",
    "3 per 10ms, burst 64",
    "90/minute, burst 30",
    "1/second, burst 4",
];

/// What a schedule is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything happens at any time.
    Random,
    /// An adversary strikes when leases end, and replicas' clocks are exact.
    Adversarial,
    /// As `Adversarial`, with clocks that are up to 1 % faster or slower.
    Drifting,
    /// As `Drifting`, and replicas are stopped at any point, and crash.
    Stopping,
    /// As `Stopping`, with replicas that keep the book that production keeps.
    Booked,
    /// As `Stopping`, while the limit's rate and burst change.
    Changing,
    /// As `Stopping`, while the store's clock steps back.
    SteppingBack,
    /// As `Stopping`, while the store's clock steps forward.
    SteppingForward,
    /// As `Stopping`, while the store loses its last writes.
    FailingOver,
}

/// What a schedule led to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Totals, Excess>,
    pub(super) history: Vec<String>,
}

/// Runs the schedule of `seed`.
pub(super) fn run(kind: Kind, fault: Option<Fault>, seed: u64, is_recorded: bool) -> Outcome {
    let mut random = Random::new(seed);
    let mischief = mischief(kind);
    let rates = (0..mischief.rates.max(1)).map(|_| random.pick(&RATES).parse().expect("a rate"));
    let rates = rates.collect();
    let network = Network {
        slowest: random.pick(&[100_000, 5 * MILLISECOND, 300 * MILLISECOND]),
        lost_once_in: random.pick(&[0, 10]),
        resent_once_in: random.pick(&[0, 4]),
        is_hostile: kind != Kind::Random,
        // A settlement that the store's clock overtakes backwards could find other leases of its
        // term.
        longest: if kind == Kind::SteppingBack { 900 * MILLISECOND } else { LENGTH },
    };
    let drift = match kind {
        Kind::Adversarial => 0,
        _ => 10_000,
    };
    let replicas = (0..random.tokens(1, 4)).map(|_| {
        let faster_ppm = random.pick(&[-drift, 0, drift]);
        let start = random.within(0, 1_000 * SECOND);
        let clock = ReplicaClock { faster_ppm, start };
        match kind {
            Kind::Booked => Replica::with_book(clock, fault),
            _ => Replica::new(clock, fault),
        }
    });
    let replicas = replicas.collect();
    let mut driver: Box<dyn Driver> = match kind {
        Kind::Random => Box::new(Traffic { mischief }),
        _ => Box::new(Adversary { mischief, strike: 0 }),
    };
    let start = Start { random, network, fault, replicas, rates, is_recorded };
    let mut world = World::new(start);
    let result = world.run(&mut *driver, LENGTH);
    Outcome { result, history: world.into_history() }
}

fn mischief(kind: Kind) -> Mischief {
    let stopping =
        Mischief { stops: true, crashes: true, other_actions: true, ..Mischief::default() };
    match kind {
        Kind::Random | Kind::Stopping => stopping,
        Kind::Adversarial | Kind::Drifting => Mischief::default(),
        // What a book holds is not known here, and the oracle would need it for other actions.
        Kind::Booked => Mischief { other_actions: false, ..stopping },
        Kind::Changing => Mischief { rates: 3, ..stopping },
        Kind::SteppingBack => Mischief { steps: Steps::Back, ..stopping },
        Kind::SteppingForward => Mischief { steps: Steps::Forward, ..stopping },
        Kind::FailingOver => Mischief { failovers: true, ..stopping },
    }
}
