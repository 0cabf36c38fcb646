//! A state: the store, the replicas, the messages between them, and the virtual bucket.

use sluice_core::Rate;

use crate::{
    act::Act,
    faults::Fault,
    store::{STEP_US, Store, TERM_STEPS, first_term, time},
};

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) burst: u8,
    /// The tokens that come back in a step.
    pub(crate) per_step: u8,
    pub(crate) replicas: u8,
    /// The most messages that are on their way together.
    pub(crate) messages: u8,
}

/// A lease that a replica holds. At the step `deadline` it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Holding {
    term: u32,
    lent: u8,
    unspent: u8,
    deadline: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Ask {
        replica: u8,
        want: u8,
        sent: i64,
    },
    /// `lasts` is the time from the grant to the end of the lease.
    Lent {
        replica: u8,
        term: u32,
        lent: u8,
        deadline: i64,
        lasts: i64,
    },
    Settle {
        term: u32,
        lent: u8,
        unspent: u8,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    step: i64,
    store: Store,
    replicas: Vec<Vec<Holding>>,
    messages: Vec<Message>,
    /// The level of the virtual bucket.
    level: u8,
}

/// Admitted one token too many.
#[derive(Debug)]
pub(crate) struct Excess;

impl Case {
    pub(crate) fn rate(self) -> Rate {
        let per_second = u64::from(self.per_step) * (1_000_000 / STEP_US.unsigned_abs());
        Rate::new(format!("{per_second}/second").parse().unwrap(), self.burst.into()).unwrap()
    }

    pub(crate) fn start(self, rate: &Rate, fault: Option<Fault>) -> State {
        State {
            step: 0,
            store: Store::new(rate, fault),
            replicas: vec![Vec::new(); self.replicas.into()],
            messages: Vec::new(),
            level: self.burst,
        }
    }
}

impl State {
    /// Returns everything that can happen next.
    pub(crate) fn acts(&self, case: Case, fault: Option<Fault>) -> Vec<Act> {
        let mut acts = vec![Act::Step, Act::Take];
        let has_room = self.messages.len() < case.messages.into();
        for (replica, holdings) in (0..).zip(&self.replicas) {
            if has_room {
                acts.extend((1..=case.burst / 2).map(|want| Act::Ask { replica, want }));
            }
            for (holding, held) in (0..).zip(holdings) {
                let is_alive =
                    self.step < held.deadline || fault == Some(Fault::SpendsAfterTheDeadline);
                if is_alive && held.unspent > 0 {
                    acts.push(Act::Spend { replica, holding });
                }
                if is_alive && has_room {
                    acts.push(Act::Settle { replica, holding });
                    if held.unspent > 0 && held.unspent < held.lent {
                        acts.push(Act::Report { replica, holding });
                    }
                }
            }
        }
        for message in 0..u8::try_from(self.messages.len()).unwrap() {
            acts.extend([Act::Deliver { message }, Act::Lose { message }]);
        }
        acts
    }

    /// Returns the state after `act`.
    pub(crate) fn after(
        &self,
        act: Act,
        case: Case,
        rate: &Rate,
        fault: Option<Fault>,
    ) -> Result<Self, Excess> {
        let mut state = self.clone();
        match act {
            Act::Step => {
                state.step += 1;
                state.level = (state.level + case.per_step).min(case.burst);
            }
            Act::Take => {
                if state.store.take(rate, state.step) {
                    state.admit()?;
                }
            }
            Act::Ask { replica, want } => {
                state.messages.push(Message::Ask { replica, want, sent: state.step });
            }
            Act::Deliver { message } => {
                let message = state.messages.remove(message.into());
                state.deliver(message, rate, fault);
            }
            Act::Lose { message } => {
                state.messages.remove(message.into());
            }
            Act::Spend { replica, holding } => {
                state.replicas[usize::from(replica)][usize::from(holding)].unspent -= 1;
                state.admit()?;
            }
            Act::Settle { replica, holding } => {
                let held = state.replicas[usize::from(replica)].remove(holding.into());
                let Holding { term, lent, unspent, .. } = held;
                state.send(Message::Settle { term, lent, unspent }, fault);
            }
            Act::Report { replica, holding } => {
                let held = &mut state.replicas[usize::from(replica)][usize::from(holding)];
                let spent = held.lent - held.unspent;
                held.lent -= spent;
                let message = Message::Settle { term: held.term, lent: spent, unspent: 0 };
                state.send(message, fault);
            }
        }
        state.forget(rate, fault);
        Ok(state)
    }

    /// Sends a settlement: once.
    fn send(&mut self, message: Message, fault: Option<Fault>) {
        self.messages.push(message);
        if fault == Some(Fault::SettlesTwice) {
            self.messages.push(message);
        }
    }

    fn deliver(&mut self, message: Message, rate: &Rate, fault: Option<Fault>) {
        match message {
            Message::Ask { replica, want, sent } => {
                let granted = self.store.lend(rate, self.step, want);
                if granted.lent > 0 {
                    let lasts = granted.end - self.step;
                    let (term, lent) = (granted.term, granted.lent);
                    // The time of a lease runs from before it was asked for.
                    let deadline = sent + lasts;
                    self.messages.push(Message::Lent { replica, term, lent, deadline, lasts });
                }
            }
            Message::Lent { replica, term, lent, deadline, lasts } => {
                let deadline = match fault {
                    Some(Fault::CountsFromTheReply) => self.step + lasts,
                    _ => deadline,
                };
                let holding = Holding { term, lent, unspent: lent, deadline };
                self.replicas[usize::from(replica)].push(holding);
            }
            Message::Settle { term, lent, unspent } => {
                self.store.settle(rate, self.step, term, lent, unspent);
            }
        }
    }

    fn admit(&mut self) -> Result<(), Excess> {
        self.level = self.level.checked_sub(1).ok_or(Excess)?;
        Ok(())
    }

    /// Forgets what makes no difference any more, so that there are not endlessly many states.
    fn forget(&mut self, rate: &Rate, fault: Option<Fault>) {
        let step = self.step;
        self.store.forget(rate, step);
        let late = match fault {
            Some(Fault::SpendsAfterTheDeadline | Fault::CountsFromTheReply) => 2 * TERM_STEPS,
            Some(Fault::SettlesWhatHasEnded) => 3 * TERM_STEPS,
            _ => 0,
        };
        for holdings in &mut self.replicas {
            holdings.retain(|held| step < held.deadline + late);
            holdings.sort_unstable();
        }
        self.messages.retain(|message| match *message {
            // Its lease would have ended before the reply.
            Message::Ask { sent, .. } => step < sent + 2 * TERM_STEPS + late,
            Message::Lent { deadline, .. } => step < deadline + late,
            Message::Settle { term, .. } => {
                step < (i64::from(term - first_term()) + 2) * TERM_STEPS + late
            }
        });
        self.messages.sort_unstable();
        self.replicas_in_order();
    }

    /// Gives replicas other numbers, since it makes no difference which is which.
    fn replicas_in_order(&mut self) {
        let [first, second] = &self.replicas[..] else { return };
        let of = |replica: u8| {
            let mine = self.messages.iter().filter_map(move |message| match *message {
                Message::Ask { replica: to, want, sent } if to == replica => {
                    Some((0, u32::from(want), 0, sent, 0))
                }
                Message::Lent { replica: to, term, lent, deadline, lasts } if to == replica => {
                    Some((1, term, lent, deadline, lasts))
                }
                _ => None,
            });
            mine.collect::<Vec<_>>()
        };
        if (first, of(0)) <= (second, of(1)) {
            return;
        }
        self.replicas.swap(0, 1);
        for message in &mut self.messages {
            if let Message::Ask { replica, .. } | Message::Lent { replica, .. } = message {
                *replica = 1 - *replica;
            }
        }
        self.messages.sort_unstable();
    }

    /// Returns the state as it looks from now: two states that only differ in their time, by whole
    /// terms, lead to the same.
    pub(crate) fn key(&self) -> impl std::hash::Hash + use<> {
        let term = i64::from(first_term()) + self.step.div_euclid(TERM_STEPS);
        let since = |number: u32| i64::from(number) - term;
        let bucket = self.store.bucket;
        let now = time(self.step).unix_micros();
        let leases = bucket.leases();
        let lease_term = if leases.any() { since(leases.term().number()) } else { 0 };
        let holdings: Vec<Vec<_>> = self
            .replicas
            .iter()
            .map(|holdings| {
                holdings
                    .iter()
                    .map(|held| {
                        (since(held.term), held.lent, held.unspent, held.deadline - self.step)
                    })
                    .collect()
            })
            .collect();
        let messages: Vec<_> = self
            .messages
            .iter()
            .map(|message| match *message {
                Message::Ask { replica, want, sent } => {
                    (0, replica, want, 0, 0, self.step - sent, 0)
                }
                Message::Lent { replica, term, lent, deadline, lasts } => {
                    (1, replica, lent, 0, since(term), deadline - self.step, lasts)
                }
                Message::Settle { term, lent, unspent } => (2, 0, lent, unspent, since(term), 0, 0),
            })
            .collect();
        (
            (self.step.rem_euclid(TERM_STEPS), self.level),
            (bucket.empty_at().micros - now, bucket.empty_at().fraction),
            bucket.indebted_at().map(|at| at.unix_micros() - now),
            (lease_term, leases.earlier_us(), leases.current_us()),
            holdings,
            messages,
        )
    }
}
