//! The world of a schedule: true time, and everything that happens in it in its order.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Rate, Subject, Tag, Tagger, Term, Timestamp,
};

use super::{
    super::{ask::Ask, holding::Settlement},
    act::Act,
    booked::Requested,
    driver::{Driver, View},
    fault::Fault,
    network::Network,
    oracle::{Excess, Oracle},
    random::Random,
    replica::{Grant, Replica},
    store::{self, SimulatedStore},
    time::{MICROSECOND, MILLISECOND, Nanos, SECOND},
};

/// How long a lease lasts at most.
const LONGEST_LEASE: Nanos = 2 * SECOND + MILLISECOND;

/// Replicas, a store and a network between them.
#[derive(Debug)]
pub(super) struct World {
    now: Nanos,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    random: Random,
    network: Network,
    fault: Option<Fault>,
    store: SimulatedStore,
    replicas: Vec<Replica>,
    /// The limit at each of the rates.
    limits: Vec<Arc<Limit>>,
    /// The index of the one that is active.
    limit: usize,
    tag: Tag,
    oracle: Oracle,
    /// What clients took and may give back.
    returnable: u64,
    totals: Totals,
    history: Option<Vec<String>>,
}

/// What a schedule did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Tokens of leases that were admitted.
    pub(super) spent: u64,
    /// Tokens of leases that were returned.
    pub(super) returned: u64,
    /// Leases that a replica had when they ended.
    pub(super) ended: u64,
}

/// What is given to a world at its start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) fault: Option<Fault>,
    pub(super) replicas: Vec<Replica>,
    /// The first is active at first.
    pub(super) rates: Vec<Rate>,
    /// Whether what happens is written down.
    pub(super) is_recorded: bool,
}

#[derive(Debug)]
struct Queued {
    at: Nanos,
    number: u64,
    event: Event,
}

impl Queued {
    fn order(&self) -> (Nanos, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[derive(Debug)]
enum Event {
    Act(Act),
    /// A request arrives at the store.
    Request(Request),
    /// The reply to a replica that asked for a lease.
    Reply {
        request: Request,
        grant: Grant,
    },
    /// What a book asks arrives at the store: settlements, and the lease.
    Ask {
        ask: Ask,
        replica: usize,
        life: u32,
    },
    /// The reply to a book.
    Lent {
        ask: Ask,
        decision: Decision,
        replica: usize,
        life: u32,
    },
    /// A replica admits tokens of a lease.
    Admission {
        replica: usize,
        tokens: u64,
    },
}

impl Event {
    fn is_at_the_store(&self) -> bool {
        match self {
            Self::Act(act) => act.replica().is_none(),
            Self::Request(_) | Self::Ask { .. } => true,
            Self::Reply { .. } | Self::Lent { .. } | Self::Admission { .. } => false,
        }
    }
}

#[derive(Clone, Debug)]
struct Request {
    check: Check,
    replica: usize,
    life: u32,
    /// By the replica's clock.
    sent: Timestamp,
    /// Whether the replica can still receive the reply.
    is_awaited: bool,
}

impl Request {
    /// Creates a request whose reply does not matter.
    fn unawaited(check: Check) -> Self {
        Self { check, replica: 0, life: 0, sent: Timestamp::default(), is_awaited: false }
    }
}

impl World {
    pub(super) fn new(start: Start) -> Self {
        let limits = start.rates.iter().map(|rate| {
            let limit = Limit::new("simulated", Algorithm::TokenBucket(*rate));
            Arc::new(limit.expect("the name is valid"))
        });
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            random: start.random,
            network: start.network,
            fault: start.fault,
            store: SimulatedStore::new(start.fault),
            replicas: start.replicas,
            limits: limits.collect(),
            limit: 0,
            tag: Tagger::new(b"").tag(Subject::Client(b"alice")),
            oracle: Oracle::new(&start.rates),
            returnable: 0,
            totals: Totals::default(),
            history: start.is_recorded.then(Vec::new),
        }
    }

    /// Lets `driver` act until `end`.
    ///
    /// # Errors
    /// At the first admission that breaks the promise.
    pub(super) fn run(&mut self, driver: &mut dyn Driver, end: Nanos) -> Result<Totals, Excess> {
        self.schedule(0, Event::Act(Act::Choose));
        while let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            match event {
                Event::Act(act) => self.act(act, driver)?,
                Event::Request(request) => drop(self.decide(request)?),
                Event::Ask { ask, replica, life } => self.decide_ask(ask, replica, life)?,
                Event::Lent { ask, decision, replica, life } => {
                    self.receive_in_book(ask, decision, replica, life, driver);
                }
                Event::Reply { request, grant } => self.receive(request, grant, driver),
                Event::Admission { replica, tokens } => {
                    self.note(|| format!("replica {replica} admits {tokens} leased tokens"));
                    self.totals.spent += tokens;
                    self.oracle.spend(at, tokens)?;
                }
            }
        }
        Ok(self.totals)
    }

    /// Returns what happened, if it was to be written down.
    pub(super) fn into_history(self) -> Vec<String> {
        self.history.unwrap_or_default()
    }

    fn act(&mut self, act: Act, driver: &mut dyn Driver) -> Result<(), Excess> {
        if let Some(replica) = act.replica()
            && self.replicas[replica].stopped_until > self.now
        {
            self.schedule(self.replicas[replica].stopped_until, Event::Act(act));
            return Ok(());
        }
        if let Some(replica) = act.replica()
            && self.replicas[replica].booked.is_some()
        {
            self.act_in_book(act, replica);
            return Ok(());
        }
        match act {
            Act::Choose => {
                let mut random = self.random.fork();
                let acts = driver.choose(&self.view(), &mut random);
                self.schedule_all(acts);
            }
            Act::Ask { replica, want } => self.ask(replica, want),
            Act::Spend { replica, tokens, stopped_for } => {
                let resumed = self.stop(replica, stopped_for);
                let admitted = self.replicas[replica].spend(tokens, self.now, resumed);
                if admitted > 0 {
                    self.schedule(resumed, Event::Admission { replica, tokens: admitted });
                }
            }
            Act::Settle { replica, stopped_for } => {
                let resumed = self.stop(replica, stopped_for);
                if let Some(settlement) = self.replicas[replica].settle(resumed) {
                    self.settle(replica, settlement, resumed);
                }
            }
            Act::Report { replica } => {
                let group = self.rate().refill().tokens();
                if let Some(settlement) = self.replicas[replica].report(group, self.now) {
                    self.settle(replica, settlement, self.now);
                }
            }
            Act::Take { tokens } => return self.decide_here(Action::Take, tokens),
            Act::TakeAll => {
                let all = self.store.remaining(self.rate(), self.now);
                return self.decide_here(Action::Take, all);
            }
            Act::Charge { tokens } => return self.decide_here(Action::Charge, tokens),
            Act::GiveBack { tokens } => {
                let tokens = tokens.min(self.returnable);
                self.returnable -= tokens;
                return self.decide_here(Action::GiveBack, tokens);
            }
            Act::Peek => return self.decide_here(Action::Peek, 1),
            Act::Reset => return self.decide_here(Action::Reset, 0),
            Act::Stop { replica, time } => {
                self.note(|| format!("replica {replica} is stopped for {time} ns"));
                self.stop(replica, time);
            }
            Act::Crash { replica } => {
                self.note(|| format!("replica {replica} crashes"));
                self.replicas[replica].crash();
            }
            Act::Step { micros } => self.step(micros),
            Act::FailOver { lag } => self.fail_over(lag),
            Act::ChangeRate { index } => {
                self.limit = index;
                let limit = Arc::clone(&self.limits[index]);
                self.note(|| format!("the limit is {limit}"));
            }
        }
        Ok(())
    }

    /// Stops a replica, and returns when it goes on.
    fn stop(&mut self, replica: usize, time: Nanos) -> Nanos {
        let stopped_until = &mut self.replicas[replica].stopped_until;
        *stopped_until = (self.now + time).max(*stopped_until);
        *stopped_until
    }

    fn ask(&mut self, replica: usize, want: u64) {
        self.note(|| format!("replica {replica} asks for {want}"));
        let request = self.request(replica, Action::Lend { least: 1 }, want, self.now);
        if self.network.breaks(&mut self.random) {
            let unawaited = Request { is_awaited: false, ..request.clone() };
            self.send(unawaited, self.now, None);
        }
        self.send(request, self.now, None);
    }

    fn settle(&mut self, replica: usize, settlement: Settlement, at: Nanos) {
        let Settlement { term, lent, unspent } = settlement;
        self.note(|| format!("replica {replica} settles {lent} with {unspent} unspent"));
        let unspent = unspent.into();
        let request = self.request(replica, Action::EndLease { term, lent }, unspent, at);
        let end = self.store.clock.when(term.lease_end());
        let is_sent_again = self.fault == Some(Fault::SettlesTwice)
            || (self.fault == Some(Fault::ResendsSettlements)
                && self.network.breaks(&mut self.random));
        if is_sent_again {
            self.send(request.clone(), at, Some(end));
        }
        self.send(request, at, Some(end));
    }

    fn request(&self, replica: usize, action: Action, tokens: u64, at: Nanos) -> Request {
        let Replica { clock, life, .. } = &self.replicas[replica];
        let check = self.check(action, tokens);
        Request { check, replica, life: *life, sent: clock.at(at), is_awaited: true }
    }

    fn send(&mut self, request: Request, at: Nanos, end: Option<Nanos>) {
        match self.network.arrival(&mut self.random, at, end) {
            Some(arrival) => self.schedule(arrival, Event::Request(request)),
            None => self.note(|| "the network loses a request".to_owned()),
        }
    }

    fn check(&self, action: Action, tokens: u64) -> Check {
        let cost = Cost::new(tokens).expect("costs are small");
        Check::new(action).with(&self.limits[self.limit], self.tag, cost)
    }

    fn decide_here(&mut self, action: Action, tokens: u64) -> Result<(), Excess> {
        let check = self.check(action, tokens);
        self.decide(Request::unawaited(check)).map(drop)
    }

    /// Lets the store decide, and the virtual bucket know.
    fn decide(&mut self, request: Request) -> Result<Decision, Excess> {
        let part = &request.check.parts()[0];
        let rate = *part.limit.rate().expect("the limit is a token bucket");
        let tokens = part.cost.tokens();
        let out = self.out();
        if rate != *self.oracle.rate() {
            self.oracle.change_rate(self.now, rate, out);
        }
        let decision = self.store.decide(&request.check, self.now);
        let (action, is_allowed) = (request.check.action(), decision.is_allowed());
        self.note(|| {
            let left = decision.verdicts()[0].remaining;
            let allowed = if is_allowed { "allowed" } else { "denied" };
            format!("the store: {action:?} {tokens}: {allowed}, {left} left, {out} out")
        });
        match action {
            Action::Take if is_allowed => {
                self.returnable += tokens;
                self.oracle.take(self.now, tokens)?;
            }
            Action::Take | Action::Peek => {}
            Action::Reserve | Action::Extend | Action::Settle | Action::Undo | Action::Renew => {
                unreachable!("the simulation has neither holds nor slots")
            }
            Action::Charge => self.oracle.charge(self.now, tokens, out),
            Action::GiveBack => self.oracle.give_back(self.now, tokens),
            Action::Reset => self.oracle.reset(self.now),
            Action::EndLease { .. } => self.totals.returned += if is_allowed { tokens } else { 0 },
            Action::Lend { .. } => {
                let grant = Grant {
                    lent: u32::try_from(store::lent(&decision)).expect("leases are small"),
                    at: decision.at(),
                };
                if request.is_awaited && grant.lent > 0 {
                    self.reply(request, grant);
                }
            }
        }
        Ok(decision)
    }

    fn reply(&mut self, request: Request, grant: Grant) {
        let term = Term::at(grant.at);
        let end = self.store.clock.when(term.lease_end());
        match self.network.arrival(&mut self.random, self.now, Some(end)) {
            Some(arrival) => self.schedule(arrival, Event::Reply { request, grant }),
            None => self.note(|| format!("the network loses a lease of {}", grant.lent)),
        }
    }

    fn receive(&mut self, request: Request, grant: Grant, driver: &mut dyn Driver) {
        let Request { replica, life, sent, .. } = request;
        let stopped_until = self.replicas[replica].stopped_until;
        if stopped_until > self.now {
            self.schedule(stopped_until, Event::Reply { request, grant });
            return;
        }
        if self.replicas[replica].life != life {
            return;
        }
        match self.replicas[replica].receive(grant, sent, self.now) {
            Some(lease) => {
                self.note(|| format!("replica {replica} has a lease of {}", lease.lent));
                let mut random = self.random.fork();
                let acts = driver.granted(replica, lease, &self.view(), &mut random);
                self.schedule_all(acts);
            }
            None => {
                self.totals.ended += 1;
                self.note(|| format!("replica {replica} gets a lease too late"));
            }
        }
    }

    /// Lets a replica with a book act.
    fn act_in_book(&mut self, act: Act, replica: usize) {
        let part = self.check(Action::Take, 1).parts()[0].clone();
        let resumed = match act {
            Act::Spend { stopped_for, .. } | Act::Settle { stopped_for, .. } => {
                self.stop(replica, stopped_for)
            }
            _ => self.now,
        };
        let (now, life) = (self.now, self.replicas[replica].life);
        let Some(booked) = &mut self.replicas[replica].booked else { return };
        let (requested, settlements) = match act {
            Act::Ask { want, .. } => (booked.ask(&part, want, now), Vec::new()),
            Act::Spend { tokens, .. } => (booked.spend(&part, tokens, now, resumed), Vec::new()),
            Act::Settle { .. } => (Requested::default(), booked.settle(resumed)),
            _ => (Requested::default(), booked.report(now)),
        };
        if requested.admitted > 0 {
            let tokens = requested.admitted;
            self.schedule(resumed, Event::Admission { replica, tokens });
        }
        for ask in requested.asks {
            self.note(|| format!("replica {replica} asks: {:?}", actions(&ask.checks)));
            if let Some(at) = self.network.arrival(&mut self.random, resumed, None) {
                self.schedule(at, Event::Ask { ask, replica, life });
            }
        }
        self.send_settlements(settlements, resumed);
    }

    fn send_settlements(&mut self, settlements: impl IntoIterator<Item = Check>, at: Nanos) {
        for check in settlements {
            let Action::EndLease { term, .. } = check.action() else { continue };
            let end = self.store.clock.when(term.lease_end());
            self.send(Request::unawaited(check), at, Some(end));
        }
    }

    fn decide_ask(&mut self, ask: Ask, replica: usize, life: u32) -> Result<(), Excess> {
        let mut last = None;
        for check in &ask.checks {
            last = Some(self.decide(Request::unawaited(check.clone()))?);
        }
        let Some(decision) = last else { return Ok(()) };
        let end = self.store.clock.when(Term::at(decision.at()).lease_end());
        if let Some(at) = self.network.arrival(&mut self.random, self.now, Some(end)) {
            self.schedule(at, Event::Lent { ask, decision, replica, life });
        }
        Ok(())
    }

    fn receive_in_book(
        &mut self,
        ask: Ask,
        decision: Decision,
        replica: usize,
        life: u32,
        driver: &mut dyn Driver,
    ) {
        let stopped_until = self.replicas[replica].stopped_until;
        if stopped_until > self.now {
            self.schedule(stopped_until, Event::Lent { ask, decision, replica, life });
            return;
        }
        let is_same_life = self.replicas[replica].life == life;
        let Some(booked) = self.replicas[replica].booked.as_mut().filter(|_| is_same_life) else {
            return;
        };
        let (lease, settlement) = booked.receive(ask, &decision, self.now);
        self.send_settlements(settlement, self.now);
        if let Some(lease) = lease {
            self.note(|| format!("replica {replica} has a lease of {}", lease.lent));
            let mut random = self.random.fork();
            let acts = driver.granted(replica, lease, &self.view(), &mut random);
            self.schedule_all(acts);
        } else if store::lent(&decision) > 0 {
            self.totals.ended += 1;
        }
    }

    fn step(&mut self, micros: i64) {
        self.note(|| format!("the store's clock steps by {micros} us"));
        if micros > 0 {
            // What is out may be spent although its leases have ended.
            let out = self.out();
            self.oracle.allow_until(self.now, self.now + LONGEST_LEASE, out);
            self.oracle.allow_refill_of(self.now, micros * MICROSECOND);
        } else {
            self.lose_settlements();
        }
        self.store.clock.ahead_us += micros;
    }

    /// Loses the settlements that are on their way while the clock steps back: their terms may
    /// recur.
    fn lose_settlements(&mut self) {
        self.queue.retain(|Reverse(Queued { event, .. })| match event {
            Event::Request(Request { check, .. }) => {
                !matches!(check.action(), Action::EndLease { .. })
            }
            _ => true,
        });
    }

    fn fail_over(&mut self, lag: Nanos) {
        let lost = self.store.fail_over(self.now - lag);
        self.note(|| format!("the store loses its last writes: {lost:?}"));
        self.oracle.allow_until(self.now, self.now + LONGEST_LEASE, lost.lent);
        self.oracle.allow_now(self.now, lost.taken);
    }

    /// Returns the tokens that replicas may still spend or return.
    fn out(&self) -> u64 {
        let held: u64 = self.replicas.iter().map(Replica::out).sum();
        let on_their_way = self.queue.iter().map(|Reverse(queued)| match &queued.event {
            Event::Reply { grant, .. } => grant.lent.into(),
            Event::Admission { tokens, .. } => *tokens,
            Event::Request(Request { check, .. })
                if matches!(check.action(), Action::EndLease { .. }) =>
            {
                check.parts()[0].cost.tokens()
            }
            Event::Lent { decision, .. } => store::lent(decision),
            Event::Ask { .. } | Event::Request(_) | Event::Act(_) => 0,
        });
        held + on_their_way.sum::<u64>()
    }

    fn view(&self) -> View<'_> {
        let rate = self.rate();
        View { now: self.now, store: self.store.clock, rate, replicas: &self.replicas }
    }

    fn rate(&self) -> &Rate {
        self.limits[self.limit].rate().expect("the limit is a token bucket")
    }

    fn schedule_all(&mut self, acts: Vec<(Nanos, Act)>) {
        for (at, act) in acts {
            self.schedule(at, Event::Act(act));
        }
    }

    fn schedule(&mut self, at: Nanos, event: Event) {
        self.queued += 1;
        let mut at = at.max(self.now);
        if event.is_at_the_store() {
            // The store's clock counts microseconds, and cannot refill within one.
            at += (-at).rem_euclid(MICROSECOND);
        }
        self.queue.push(Reverse(Queued { at, number: self.queued, event }));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>14} ns  {}", self.now, what()));
        }
    }
}

fn actions(checks: &[Check]) -> Vec<Action> {
    checks.iter().map(Check::action).collect()
}
