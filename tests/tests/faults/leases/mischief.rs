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

/// How often something happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Happened {
    /// Killed, and started again.
    pub(crate) kills: u64,
    /// Stopped, and continued while its leases were alive.
    pub(crate) short_stops: u64,
    /// Stopped, and continued after the end of its leases.
    pub(crate) long_stops: u64,
    /// Asked to end, and started again.
    pub(crate) ends: u64,
}

/// Threads that each torment one replica, as a seed says.
#[derive(Debug)]
pub(crate) struct Mischief {
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Happened>>,
}

impl Mischief {
    pub(crate) fn start(replicas: &Replicas, random: &mut Random) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let start = |(number, replica): (usize, &Arc<Sluice>)| {
            let (enough, replica) = (Arc::clone(&enough), Arc::clone(replica));
            let random = Random::new(random.below(u64::MAX));
            // Each replica begins with another kind, so that each kind happens.
            thread::spawn(move || torment(&replica, random, number as u64, &enough))
        };
        Self { threads: replicas.all.iter().enumerate().map(start).collect(), enough }
    }

    /// Waits until all replicas are healthy again. Returns what happened.
    pub(crate) fn stop(self) -> Happened {
        self.enough.store(true, Ordering::SeqCst);
        let mut sum = Happened::default();
        for thread in self.threads {
            let Happened { kills, short_stops, long_stops, ends } =
                thread.join().expect("every replica starts and ends");
            sum.kills += kills;
            sum.short_stops += short_stops;
            sum.long_stops += long_stops;
            sum.ends += ends;
        }
        sum
    }
}

fn torment(replica: &Sluice, mut random: Random, first: u64, enough: &AtomicBool) -> Happened {
    let mut happened = Happened::default();
    let mut kind = first;
    while !enough.load(Ordering::SeqCst) {
        wait(random.below(900), enough);
        match kind {
            0 => {
                replica.sigkill();
                wait(random.below(1_500), enough);
                replica.restart();
                happened.kills += 1;
            }
            1 => {
                replica.pause();
                thread::sleep(Duration::from_millis(LONGER_THAN_A_LEASE_MS + random.below(900)));
                replica.resume();
                happened.long_stops += 1;
            }
            2 => {
                replica.sigterm();
                assert!(replica.wait_exit(END).success(), "it ends without an error");
                replica.restart();
                happened.ends += 1;
            }
            _ => {
                replica.pause();
                thread::sleep(Duration::from_millis(random.below(1_500)));
                replica.resume();
                happened.short_stops += 1;
            }
        }
        kind = random.below(4);
    }
    happened
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
