//! Renews the slots that this process holds, and gives them back.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use sluice_core::{Check, Decision, OnLost, Source, Timestamp};
use sluice_store::Store;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    book::{self, Book, Key, LostSlots, Renewal, Since, Taken},
    lost_log::LostLog,
    timing::Moment,
};
use crate::telemetry::{OnLostLabel, SlotRecorder};

/// The shortest time between two looks at the book, so that renewals share calls.
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps the book of a limiter's slots.
#[derive(Debug)]
pub(crate) struct SlotKeeper {
    store: Arc<dyn Store>,
    kept: Mutex<Kept>,
    /// Wakes the task that renews.
    wake: Notify,
    /// Wakes those that wait for the end of a renewal.
    renewed: Notify,
    /// Each guard, and each check that gives back, has a receiver.
    open: watch::Sender<()>,
    recorder: SlotRecorder,
    lost_log: LostLog,
}

#[derive(Debug, Default)]
struct Kept {
    book: Book,
    /// How many slots are held, by limit.
    held: HashMap<Box<str>, u64>,
    /// When the task that renews looks at the book next; `None` while there is none.
    next_look: Option<Instant>,
}

/// What a request holds, as the keeper notes it.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) keys: Vec<Key>,
    /// Says when the request should be cut off, if a limit says so.
    pub(super) cut: Option<watch::Receiver<bool>>,
    /// Keeps [`SlotKeeper::finish`] waiting.
    pub(super) ticket: watch::Receiver<()>,
}

/// Held by the task that renews. Notes its end if its runtime ends.
struct RunPermit {
    keeper: Arc<SlotKeeper>,
    has_ended: bool,
}

// === impl SlotKeeper ===

impl SlotKeeper {
    pub(crate) fn new(store: Arc<dyn Store>, recorder: SlotRecorder) -> Self {
        Self {
            store,
            kept: Mutex::default(),
            wake: Notify::new(),
            renewed: Notify::new(),
            open: watch::Sender::new(()),
            recorder,
            lost_log: LostLog::default(),
        }
    }

    /// Notes the slots that the `decision` on `check` took, at `taken_at`. The check was sent at
    /// this instant.
    pub(super) fn hold(
        self: &Arc<Self>,
        check: &Check,
        decision: &Decision,
        taken_at: Timestamp,
        sent: Instant,
    ) -> Option<Holding> {
        if decision.is_denied() {
            return None;
        }
        let parts = check.parts().iter().zip(decision.verdicts());
        let taken = parts.filter(|(part, verdict)| {
            part.has_slots() && verdict.admitted && part.cost.tokens() > 0
        });
        let since = Since { taken_at, is_local: decision.source() == Source::Local };
        let moment = Moment { at: decision.at(), sent, received: Instant::now() };
        let mut taken = taken.map(|(part, _)| part).peekable();
        taken.peek()?;
        let ticket = self.open.subscribe();
        let (mut keys, mut cut) = (Vec::new(), None);
        let mut kept = self.kept();
        for part in taken {
            let sender = book::cuts(&part.limit)
                .then(|| cut.get_or_insert_with(|| watch::Sender::new(false)).clone());
            let (key, due) = kept.book.take(part, since, moment, sender);
            keys.push(key);
            self.count(&mut kept, part.limit.name(), |held| {
                held.saturating_add(part.cost.tokens())
            });
            self.look_at(&mut kept, due);
        }
        drop(kept);
        Some(Holding { keys, cut: cut.map(|cut| cut.subscribe()), ticket })
    }

    /// Gives slots back; where the store has to be waited for, in a task of its own.
    pub(super) fn give_back(self: &Arc<Self>, keys: &[Key], ticket: &watch::Receiver<()>) {
        let mut checks = Vec::with_capacity(keys.len());
        let mut kept = self.kept();
        for key in keys {
            checks.extend(self.release(&mut kept, *key));
        }
        drop(kept);
        self.send_back(checks, ticket.clone());
    }

    /// Stops to renew slots, when no renewal is on its way. Returns since when they count, if they
    /// do.
    pub(super) async fn take_out(&self, key: Key) -> Option<Timestamp> {
        loop {
            let renewed = self.renewed.notified();
            match self.take_out_now(key, false) {
                Taken::Busy => renewed.await,
                Taken::Since(taken_at) => return Some(taken_at),
                Taken::Lost => return None,
            }
        }
    }

    /// Stops to renew slots at once. Returns since when they count, as far as is known.
    pub(super) fn detach(&self, key: Key) -> Option<Timestamp> {
        match self.take_out_now(key, true) {
            Taken::Since(taken_at) => Some(taken_at),
            Taken::Busy | Taken::Lost => None,
        }
    }

    /// Waits until all slots are given back, for at most `within`. Returns how many requests hold
    /// some still, or have not given them back.
    pub(crate) async fn finish(&self, within: Duration) -> usize {
        let _ = timeout(within, self.open.closed()).await;
        self.open.receiver_count()
    }

    fn take_out_now(&self, key: Key, even_if_busy: bool) -> Taken {
        let mut kept = self.kept();
        let held = kept.book.held(key);
        let taken = kept.book.take_out(key, even_if_busy);
        if let (Some((limit, slots)), false) = (held, taken == Taken::Busy) {
            self.count(&mut kept, limit.name(), |held| held.saturating_sub(slots));
        }
        taken
    }

    fn release(&self, kept: &mut Kept, key: Key) -> Option<Check> {
        let (limit, slots) = kept.book.held(key)?;
        self.count(kept, limit.name(), |held| held.saturating_sub(slots));
        kept.book.release(key)
    }

    /// Changes the number of slots that are held of a limit.
    fn count(&self, kept: &mut Kept, limit: &str, change: impl FnOnce(u64) -> u64) {
        let held = match kept.held.get_mut(limit) {
            Some(held) => held,
            None => kept.held.entry(limit.into()).or_default(),
        };
        *held = change(*held);
        self.recorder.held(limit, *held);
    }

    /// Has the book looked at when something has to be done.
    fn look_at(self: &Arc<Self>, kept: &mut Kept, at: Instant) {
        match kept.next_look {
            Some(next) if next <= at => {}
            Some(_) => self.wake.notify_one(),
            None => {
                // Without a runtime, slots are not renewed, and return after two terms.
                let Ok(runtime) = Handle::try_current() else { return };
                kept.next_look = Some(at);
                let permit = RunPermit { keeper: Arc::clone(self), has_ended: false };
                runtime.spawn(permit.renew_while_held());
            }
        }
    }

    /// Returns when to look at the book next; `None` when nothing is held, which ends the task.
    fn next_look(&self) -> Option<Instant> {
        let mut kept = self.kept();
        let next = kept.book.next_at().map(|next| next.max(Instant::now() + PAUSE));
        kept.next_look = match next {
            // Only what is cut off is left, or a renewal without an end.
            None if !kept.book.is_empty() => Some(Instant::now() + Duration::from_secs(60)),
            next => next,
        };
        kept.next_look
    }

    /// Sends what is due, in a task, so that slots whose renewal hangs are lost in time.
    fn renew_due(self: &Arc<Self>) {
        let due = self.kept().book.due(Instant::now());
        self.note_lost(&due.lost);
        if !due.renewals.is_empty() {
            let keeper = Arc::clone(self);
            tokio::spawn(async move { keeper.renew(due.renewals).await });
        }
    }

    async fn renew(self: &Arc<Self>, mut renewals: Vec<Renewal>) {
        let checks: Vec<Check> =
            renewals.iter_mut().map(|renewal| mem::take(&mut renewal.check)).collect();
        let sent = Instant::now();
        let decided = self.store.decide_all(&checks).await;
        let times = (sent, Instant::now());
        let (mut give_backs, mut lost) = (Vec::new(), Vec::new());
        let mut kept = self.kept();
        for ((mut renewal, check), decided) in renewals.into_iter().zip(checks).zip(decided) {
            renewal.check = check;
            let followup = kept.book.decided(&renewal, &decided, times);
            give_backs.extend(followup.give_backs);
            lost.extend(followup.lost);
        }
        drop(kept);
        self.renewed.notify_waiters();
        self.wake.notify_one();
        self.note_lost(&lost);
        self.send_back(give_backs, self.open.subscribe());
    }

    fn send_back(&self, checks: Vec<Check>, ticket: watch::Receiver<()>) {
        if checks.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        let Ok(runtime) = Handle::try_current() else {
            // A store in memory needs none. With any other, the slots return after two terms.
            for check in &checks {
                drop(store.decide(check));
            }
            return;
        };
        let mut sending = Box::pin(async move {
            // Sent once: if the answer is lost, a second one could free the slots of others.
            for decided in store.decide_all(&checks).await {
                if let Err(error) = decided {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "slots were not given back: they return by themselves");
                }
            }
            drop(ticket);
        });
        // Sent before the client sees the last byte, so that its next request finds the slot free.
        let is_sent = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if is_sent.is_pending() {
            runtime.spawn(sending);
        }
    }

    fn note_lost(&self, lost: &[LostSlots]) {
        for LostSlots { limit, slots, on_lost } in lost {
            let label = match on_lost {
                OnLost::Finish => OnLostLabel::Finish,
                OnLost::Cut => OnLostLabel::Cut,
            };
            self.recorder.lost(limit.name(), label, *slots);
            self.lost_log.lost(limit.name(), *slots, *on_lost);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl RunPermit ===

impl RunPermit {
    /// Renews slots until none is held any more.
    async fn renew_while_held(mut self) {
        while let Some(next) = self.keeper.next_look() {
            tokio::select! {
                () = sleep_until(next) => self.keeper.renew_due(),
                () = self.keeper.wake.notified() => {}
            }
        }
        self.has_ended = true;
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        if !self.has_ended {
            self.keeper.kept().next_look = None;
        }
    }
}
