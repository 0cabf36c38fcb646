//! What happens to replicas while they hold leases.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sluice_testkit::Sluice;

use super::fleet::Replicas;
use crate::random::Random;

/// A lease lives for two seconds at most. A process that is stopped for longer must not spend it.
const LONGER_THAN_A_LEASE_MS: u64 = 2_100;
/// Far more than the end of a process takes.
const END: Duration = Duration::from_secs(60);

/// What happens to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is killed, and started again.
    Kill,
    /// It is stopped, and continued after the end of its leases.
    LongStop,
    /// It is asked to end, and started again.
    End,
    /// It is stopped, and continued while its leases may be alive.
    ShortStop,
}

/// Whatever there is.
pub(crate) const ALL: &[Event] = &[Event::Kill, Event::LongStop, Event::End, Event::ShortStop];
/// What loses hardly a token, so that none too many hides among those that are lost.
pub(crate) const GENTLE: &[Event] = &[Event::End];

/// How often each event happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Happened([u64; ALL.len()]);

impl Happened {
    pub(crate) fn times(self, event: Event) -> u64 {
        self.0[event as usize]
    }
}

/// Threads that each torment one replica, as a seed says.
#[derive(Debug)]
pub(crate) struct Mischief {
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Happened>>,
}

impl Mischief {
    /// Each replica begins with another one of `events`.
    pub(crate) fn start(
        replicas: &Replicas,
        events: &'static [Event],
        random: &mut Random,
    ) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let start = |(number, replica): (usize, &Arc<Sluice>)| {
            let (enough, replica) = (Arc::clone(&enough), Arc::clone(replica));
            let random = Random::new(random.below(u64::MAX));
            thread::spawn(move || torment(&replica, random, (events, number), &enough))
        };
        Self { threads: replicas.all.iter().enumerate().map(start).collect(), enough }
    }

    /// Waits until all replicas are healthy again. Returns what happened.
    pub(crate) fn stop(self) -> Happened {
        self.enough.store(true, Ordering::SeqCst);
        let mut sum = Happened::default();
        for thread in self.threads {
            let happened = thread.join().expect("every replica starts and ends");
            for (sum, times) in sum.0.iter_mut().zip(happened.0) {
                *sum += times;
            }
        }
        sum
    }
}

fn torment(
    replica: &Sluice,
    mut random: Random,
    (events, first): (&[Event], usize),
    enough: &AtomicBool,
) -> Happened {
    let mut happened = Happened::default();
    let mut event = events[first % events.len()];
    while !enough.load(Ordering::SeqCst) {
        wait(random.below(900), enough);
        match event {
            Event::Kill => {
                replica.sigkill();
                wait(random.below(1_500), enough);
                replica.restart();
            }
            Event::LongStop => stop(replica, LONGER_THAN_A_LEASE_MS + random.below(900)),
            Event::End => {
                replica.sigterm();
                assert!(replica.wait_exit(END).success(), "it ends without an error");
                replica.restart();
            }
            Event::ShortStop => stop(replica, random.below(1_500)),
        }
        happened.0[event as usize] += 1;
        event = events[usize::try_from(random.below(events.len() as u64)).expect("it is an index")];
    }
    happened
}

fn stop(replica: &Sluice, millis: u64) {
    replica.pause();
    thread::sleep(Duration::from_millis(millis));
    replica.resume();
}

/// Waits for so many milliseconds, or until it is enough.
fn wait(millis: u64, enough: &AtomicBool) {
    const STEP_MS: u64 = 20;
    for _ in 0..millis / STEP_MS {
        if enough.load(Ordering::SeqCst) {
            return;
        }
        thread::sleep(Duration::from_millis(STEP_MS));
    }
}
