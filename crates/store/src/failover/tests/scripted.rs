//! A store that fails on command.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_core::{Action, Check, Decision, Timestamp};
use tokio::time::Instant;

use crate::{Clock, Fleet, MemoryStore, Replica, Store, StoreError, StoreFuture};

/// How the store is disposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It answers at once.
    Answers,
    /// It answers after a while.
    AnswersAfter(Duration),
    /// It does nothing and never answers.
    Stalls,
    /// It does what it is asked and never says so.
    ActsAndStalls,
    /// It cannot be reached.
    Unreachable,
    /// It reads, and refuses to write, as a primary that turned replica does.
    ReadOnly,
    /// What it says about buckets makes no sense.
    Gibberish,
    /// It decides so many checks more, and then cannot be reached.
    AnswersChecks(usize),
}

/// What the store was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Decide,
    DecideAll(usize),
    Probe,
}

/// A memory store behind a mood.
#[derive(Debug)]
pub(super) struct Scripted {
    memory: MemoryStore<Arc<dyn Clock>>,
    mood: Mutex<Mood>,
    asked: Mutex<Vec<(Instant, Asked)>>,
}

/// The runtime's clock, so that pausing it pauses every store.
#[derive(Debug)]
pub(super) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_000_000).after(self.0.elapsed())
    }
}

impl Scripted {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            memory: MemoryStore::with_clock(clock),
            mood: Mutex::new(Mood::Answers),
            asked: Mutex::default(),
        }
    }

    pub(super) fn turn(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Everything asked so far, and when.
    pub(super) fn asked(&self) -> Vec<(Instant, Asked)> {
        self.asked.lock().clone()
    }

    pub(super) fn times_asked(&self, what: &Asked) -> usize {
        self.asked().iter().filter(|(_, asked)| asked == what).count()
    }

    /// Decides whatever the mood.
    pub(super) fn really_decide(&self, check: &Check) -> Decision {
        self.memory.decide_now(check)
    }

    fn note(&self, asked: Asked) -> Mood {
        self.asked.lock().push((Instant::now(), asked));
        *self.mood.lock()
    }

    fn decide_in_mood(&self, check: &Check) -> Result<Decision, StoreError> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Unreachable | Mood::AnswersChecks(0) => Err(unreachable_error()),
            Mood::Gibberish if !check.parts().is_empty() => {
                Err(StoreError::Unreadable { what: "gibberish".to_owned() })
            }
            Mood::ReadOnly if check.action() != Action::Peek => {
                let mut asked = Check::new(Action::Peek);
                check.parts().iter().cloned().for_each(|part| asked.push(part));
                let decision = self.really_decide(&asked);
                if decision.is_allowed() { Err(refusal()) } else { Ok(decision) }
            }
            Mood::AnswersChecks(left) if !check.parts().is_empty() => {
                self.turn(Mood::AnswersChecks(left - 1));
                Ok(self.really_decide(check))
            }
            _ => Ok(self.really_decide(check)),
        }
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        mood: Mood,
        act: impl FnOnce() -> T + Send + 'a,
    ) -> StoreFuture<'a, T> {
        match mood {
            Mood::Stalls => StoreFuture::pending(std::future::pending()),
            Mood::ActsAndStalls => {
                act();
                StoreFuture::pending(std::future::pending())
            }
            Mood::AnswersAfter(wait) => StoreFuture::pending(async move {
                tokio::time::sleep(wait).await;
                act()
            }),
            _ => StoreFuture::ready(act()),
        }
    }
}

impl Store for Scripted {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let mood = self.note(Asked::Decide);
        self.answer(mood, move || self.decide_in_mood(check))
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        let mood = self.note(Asked::DecideAll(checks.len()));
        self.answer(mood, move || checks.iter().map(|check| self.decide_in_mood(check)).collect())
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        let mood = self.note(Asked::Probe);
        self.answer(mood, move || match mood {
            Mood::Unreachable | Mood::AnswersChecks(0) => Err(unreachable_error()),
            Mood::ReadOnly => Err(refusal()),
            _ => Ok(()),
        })
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        let mood = *self.mood.lock();
        match self.memory.announce(replica) {
            StoreFuture::Ready(fleet) => {
                self.answer(mood, move || fleet.unwrap_or_else(|| Err(unreachable_error())))
            }
            pending @ StoreFuture::Pending(_) => pending,
        }
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        let mood = *self.mood.lock();
        self.answer(mood, move || {
            drop(self.memory.depart(replica));
            Ok(())
        })
    }
}

fn unreachable_error() -> StoreError {
    StoreError::Unreachable(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))
}

fn refusal() -> StoreError {
    StoreError::Refused(Arc::new(std::io::Error::other(
        "READONLY You can't write against a read only replica.",
    )))
}
