//! What is true of limits that are no token buckets, and of checks of several kinds of limits.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Concurrent, CostsDigest, Decision, Guarded, Hold, HoldId, HoldStep,
    Limit, Part, Quota, Retry, Tag, Timestamp,
};

use crate::fixture::{Fixture, check, limit, tokens};

/// The term of the slots of these truths.
const TERM: Duration = Duration::from_secs(1);

fn limit_with(name: &str, algorithm: Algorithm) -> Arc<Limit> {
    Arc::new(Limit::new(name, algorithm).unwrap())
}

fn quota(name: &str, quota: &str) -> Arc<Limit> {
    limit_with(name, Algorithm::Quota(quota.parse().unwrap()))
}

fn at_most(name: &str, at_most: &str) -> Arc<Limit> {
    limit_with(name, Algorithm::AtMost(at_most.parse().unwrap()))
}

fn slots(name: &str, slots: u64, term: Duration) -> Arc<Limit> {
    let concurrent = Concurrent::new(slots).unwrap().with_term(term).unwrap();
    limit_with(name, Algorithm::Concurrent(concurrent))
}

/// Returns the number of the term of slots that contains `at`.
fn term_of(at: Timestamp) -> i64 {
    at.unix_micros() / 1_000_000
}

/// Returns a check that does `action` with what was taken at `taken_at`.
fn taken_at(
    action: Action,
    limit: &Arc<Limit>,
    client: Tag,
    cost: u64,
    taken_at: Timestamp,
) -> Check {
    let mut check = check(action);
    check.push(Part::new(Arc::clone(limit), client, tokens(cost)).taken_at(taken_at));
    check
}

pub async fn a_quota_returns_when_its_next_window_begins(fixture: &Fixture) {
    let (limit, client) = (quota("quota", "3/second"), fixture.client());
    let take = |cost| check(Action::Take).with(&limit, client, tokens(cost));
    let [taken, denied, too_much] = fixture.decide_at_once([take(3), take(1), take(4)]).await;
    assert!(taken.is_allowed() && denied.is_denied());
    assert_eq!(too_much.retry(), Retry::Never);
    let Retry::After(wait) = denied.retry() else { panic!("{denied:?}") };
    let next = denied.at().after(wait);
    assert_eq!(next.unix_micros() % 1_000_000, 0, "windows begin with the seconds of the clock");
    assert!(wait <= Duration::from_secs(1));
    assert_eq!(denied.verdicts()[0].reset_in, Some(wait));
    fixture.wait_until(next).await;
    assert!(fixture.decide(take(3)).await.is_allowed());
}

pub async fn a_denied_cost_counts_where_the_quota_says_so(fixture: &Fixture) {
    let counting = "10/year".parse::<Quota>().unwrap().counting_denied();
    let counting = limit_with("counting", Algorithm::Quota(counting));
    let (plain, client) = (quota("plain", "10/year"), fixture.client());
    let both = |action, cost| {
        check(action).with(&counting, client, tokens(cost)).with(&plain, client, tokens(cost))
    };
    assert!(fixture.decide(both(Action::Take, 8)).await.is_allowed());
    assert!(fixture.decide(both(Action::Peek, 3)).await.is_denied());
    let denied = fixture.decide(both(Action::Take, 3)).await;
    assert!(denied.is_denied());
    assert_eq!(
        denied.verdicts().iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(),
        [0, 2]
    );
    // 11 of 10 are used: even a cost of nothing is denied.
    assert!(fixture.act(Action::Peek, &counting, client, 0).await.is_denied());
    assert!(fixture.act(Action::Take, &counting, client, 3).await.is_denied());
    fixture.act(Action::GiveBack, &counting, client, 5).await;
    assert_eq!(fixture.remaining(&counting, client).await, 1);
}

pub async fn a_check_of_several_algorithms_is_all_or_nothing(fixture: &Fixture) {
    let limits = [
        limit("bucket", "1/day", 10),
        quota("yearly", "9/year"),
        at_most("any hour", "8 per 1h"),
        slots("slots", 3, Duration::from_secs(86_400)),
    ];
    let client = fixture.client();
    let all = |action| {
        limits.iter().fold(check(action), |check, limit| check.with(limit, client, tokens(1)))
    };
    let remaining = |decision: &Decision| -> Vec<u64> {
        decision.verdicts().iter().map(|verdict| verdict.remaining).collect()
    };
    for left in (0..3).rev() {
        let decision = fixture.decide(all(Action::Take)).await;
        assert!(decision.is_allowed());
        assert_eq!(remaining(&decision), [7 + left, 6 + left, 5 + left, left]);
    }
    for _ in 0..2 {
        let denied = fixture.decide(all(Action::Take)).await;
        assert!(denied.is_denied());
        assert_eq!(denied.binding().map(|verdict| verdict.limit.name()), Some("slots"));
        assert_eq!(denied.retry(), Retry::After(Duration::from_secs(1)));
        assert_eq!(remaining(&denied), [7, 6, 5, 0]);
    }
    fixture.decide(all(Action::GiveBack)).await;
    assert_eq!(remaining(&fixture.decide(all(Action::Peek)).await), [8, 7, 6, 1]);
    fixture.decide(all(Action::Charge)).await;
    fixture.decide(all(Action::Charge)).await;
    assert_eq!(remaining(&fixture.decide(all(Action::Peek)).await), [6, 5, 4, 0]);
    fixture.decide(all(Action::Reset)).await;
    assert_eq!(remaining(&fixture.decide(all(Action::Peek)).await), [10, 9, 8, 3]);
}

pub async fn what_counts_no_more_is_not_given_back(fixture: &Fixture) {
    let (limit, client) = (quota("quota", "3/second"), fixture.client());
    let first = fixture.take(&limit, client, 2).await;
    let next = Timestamp::from_unix_micros((term_of(first.at()) + 1) * 1_000_000);
    fixture.wait_until(next).await;
    let take = check(Action::Take).with(&limit, client, tokens(2));
    let late = taken_at(Action::GiveBack, &limit, client, 2, first.at());
    let [taken, late] = fixture.decide_at_once([take, late]).await;
    assert!(taken.is_allowed() && late.is_allowed());
    assert_eq!(late.verdicts()[0].remaining, 1, "it was taken in an earlier window");

    let (limit, client) = (at_most("at most", "5 per 1h"), fixture.client());
    let taken = fixture.take(&limit, client, 4).await;
    let early = Timestamp::from_unix_micros(taken.at().unix_micros() - 4_000_000_000);
    fixture.decide(taken_at(Action::GiveBack, &limit, client, 4, early)).await;
    assert_eq!(fixture.remaining(&limit, client).await, 1);
    fixture.decide(taken_at(Action::GiveBack, &limit, client, 3, taken.at())).await;
    assert_eq!(fixture.remaining(&limit, client).await, 4);
}

pub async fn slots_that_are_not_renewed_are_presumed_lost(fixture: &Fixture) {
    let (limit, client) = (slots("slots", 2, TERM), fixture.client());
    let taken = fixture.take(&limit, client, 2).await;
    assert!(taken.is_allowed());
    let term = term_of(taken.at());
    let begins = |term: i64| Timestamp::from_unix_micros(term * 1_000_000);
    fixture.wait_until(begins(term + 1)).await;
    let renewed = fixture.decide(taken_at(Action::Renew, &limit, client, 1, taken.at())).await;
    if term_of(renewed.at()) > term + 1 {
        return; // The machine is too slow.
    }
    assert!(renewed.is_allowed());
    fixture.wait_until(begins(term + 2)).await;
    let lost = fixture.decide(taken_at(Action::Renew, &limit, client, 1, taken.at())).await;
    assert!(lost.is_denied(), "nobody has renewed it for a whole term");
    assert_eq!(lost.retry(), Retry::Never);
    let released = taken_at(Action::GiveBack, &limit, client, 1, taken.at());
    let left = fixture.decide(released).await.verdicts()[0].remaining;
    let look = fixture.act(Action::Peek, &limit, client, 0).await;
    if term_of(look.at()) == term + 2 {
        assert_eq!(left, 1, "what is lost is not released a second time");
    }
    fixture.wait_until(begins(term + 3)).await;
    assert_eq!(fixture.remaining(&limit, client).await, 2, "it is over for the other one too");
}

pub async fn a_hold_takes_from_limits_of_all_algorithms(fixture: &Fixture) {
    let limits = [
        limit("bucket", "1/day", 100),
        quota("yearly", "100/year"),
        at_most("any hour", "100 per 1h"),
        slots("slots", 2, Duration::from_secs(86_400)),
    ];
    let client = fixture.client();
    let id = HoldId::from_bytes([1; 16]);
    let digest = |costs: [u64; 4]| {
        let buckets =
            limits.iter().map(|limit| Part::new(Arc::clone(limit), client, tokens(0)).bucket());
        CostsDigest::of(buckets.zip(costs.map(tokens)))
    };
    let step = |step| Check::of_hold(Hold::new(id, Duration::from_secs(3_600), step));
    let with = |mut check: Check, part: &dyn Fn(usize, Arc<Limit>) -> Part| {
        for (index, limit) in limits.iter().enumerate() {
            check.push(part(index, Arc::clone(limit)));
        }
        check
    };
    let of =
        |costs: [u64; 4]| move |index: usize, limit| Part::new(limit, client, tokens(costs[index]));
    let remaining = async || {
        let mut left = Vec::new();
        for limit in &limits {
            left.push(fixture.remaining(limit, client).await);
        }
        left
    };

    let (held, more) = ([60, 60, 60, 1], [70, 70, 70, 1]);
    let reserve = with(step(HoldStep::Reserve { costs: digest(held) }), &of(held));
    let reserved = fixture.decide(reserve.clone()).await;
    assert_eq!((reserved.is_allowed(), reserved.guarded()), (true, Some(Guarded::First)));
    assert_eq!(remaining().await, [40, 40, 40, 1]);
    let repeated = fixture.decide(reserve).await;
    assert_eq!((repeated.is_allowed(), repeated.guarded()), (true, Some(Guarded::Repeated)));

    let extend = |costs: [u64; 4]| {
        let to = [0, 1, 2, 3].map(|index| held[index] + costs[index]);
        let (from, to, reserved_at) = (digest(held), digest(to), reserved.at());
        with(step(HoldStep::Extend { from, to, reserved_at }), &|index, limit| {
            of(costs)(index, limit).holding(tokens(held[index]))
        })
    };
    let denied = fixture.decide(extend([10, 10, 41, 0])).await;
    assert_eq!(denied.binding().map(|verdict| verdict.limit.name()), Some("any hour"));
    assert_eq!(remaining().await, [40, 40, 40, 1]);
    let extended = fixture.decide(extend([10, 10, 10, 0])).await;
    assert_eq!((extended.is_allowed(), extended.guarded()), (true, Some(Guarded::First)));
    assert_eq!(remaining().await, [30, 30, 30, 1]);

    // The slot is free again, and the rest is corrected: up, down, and not at all.
    let actual = [75, 20, 70, 0];
    let settle = HoldStep::Settle { actual: digest(actual), reserved_at: extended.at() };
    let settle = with(step(settle), &|index, limit| {
        Part::settling(limit, client, tokens(more[index]), tokens(actual[index]))
            .taken_at(extended.at())
    });
    for guarded in [Guarded::First, Guarded::Repeated] {
        let settled = fixture.decide(settle.clone()).await;
        assert_eq!((settled.is_allowed(), settled.guarded()), (true, Some(guarded)));
        assert_eq!(remaining().await, [25, 80, 30, 2]);
    }
}

pub async fn an_extension_that_is_sent_again_renews_once(fixture: &Fixture) {
    let yearly = "3/year".parse::<Quota>().unwrap().releasing(TERM).unwrap();
    let limits = [slots("slots", 3, TERM), limit_with("releasing", Algorithm::Quota(yearly))];
    let (client, costs) = (fixture.client(), CostsDigest::from_number(1));
    let step = |number: u8, step, cost, held| {
        let mut check = Check::of_hold(Hold::new(HoldId::from_bytes([number; 16]), TERM, step));
        for limit in &limits {
            check.push(Part::new(Arc::clone(limit), client, tokens(cost)).holding(tokens(held)));
        }
        check
    };
    let begins = |term: i64| Timestamp::from_unix_micros(term * 1_000_000);
    fixture.wait_until(begins(term_of(fixture.now().await) + 1)).await;
    let reserve = |number| step(number, HoldStep::Reserve { costs }, 1, 0);
    let reserved = fixture.decide_at_once([reserve(1), reserve(2), reserve(3)]).await;
    assert!(reserved.iter().all(Decision::is_allowed));
    let reserved_at = reserved[0].at();
    let term = term_of(reserved_at);

    fixture.wait_until(begins(term + 1)).await;
    let extend = |number| {
        let extend = HoldStep::Extend { from: costs, to: costs, reserved_at };
        step(number, extend, 0, 1)
    };
    let extended =
        fixture.decide_at_once([extend(1), extend(1), extend(1), extend(2), extend(3)]).await;
    if extended.iter().any(|decision| term_of(decision.at()) > term + 1) {
        return; // The machine is too slow.
    }
    assert!(extended.iter().all(Decision::is_allowed), "{extended:?}");

    fixture.wait_until(begins(term + 2)).await;
    for limit in &limits {
        let look = fixture.act(Action::Peek, limit, client, 0).await;
        if term_of(look.at()) == term + 2 {
            assert_eq!(look.verdicts()[0].remaining, 0, "all three hold on: {look:?}");
        }
    }
    fixture.wait_until(begins(term + 3)).await;
    for limit in &limits {
        assert_eq!(fixture.remaining(limit, client).await, 3, "{}", limit.name());
    }
}

/// What changes nothing is not written. The next window, slice or term of a state that was written
/// would stay if the clock stepped back behind its beginning.
pub async fn what_changes_nothing_leaves_no_trace_of_the_time(fixture: &Fixture) {
    const MINUTE_US: i64 = 60_000_000;
    let counting = "9/minute".parse::<Quota>().unwrap().counting_denied();
    let limits = [
        limit_with("counting", Algorithm::Quota(counting)),
        at_most("any minute", "9 per 60s"),
        slots("slots", 9, Duration::from_secs(10)),
    ];
    let denying = limit("denying", "1/day", 1);
    let now = fixture.now().await.unix_micros();
    let minute = Timestamp::from_unix_micros(now - now % MINUTE_US + 2 * MINUTE_US);
    let before = |millis: i64| Timestamp::from_unix_micros(minute.unix_micros() - millis * 1_000);
    let id = |number: u8| HoldId::from_bytes([number; 16]);
    let costs = CostsDigest::from_number(1);
    let hold = |number, step| Check::of_hold(Hold::new(id(number), Duration::from_secs(60), step));
    let clients: Vec<Tag> = (0..7).map(|_| fixture.client()).collect();
    let all = |check: Check, client, cost| {
        limits.iter().fold(check, |check, limit| check.with(limit, client, tokens(cost)))
    };
    let parts = |mut check: Check, client, made: &dyn Fn(Part) -> Part| {
        for limit in &limits {
            check.push(made(Part::new(Arc::clone(limit), client, tokens(0))));
        }
        check
    };
    for at in [before(13_000), before(3_000)] {
        fixture.wait_until(at).await;
        for &client in &clients {
            fixture.decide(all(check(Action::Take), client, 1)).await;
        }
    }
    fixture.wait_until(minute).await;
    let reserved_at = before(3_000);
    let checks = [
        all(check(Action::Peek), clients[1], 1),
        all(check(Action::Take), clients[2], 0).with(&denying, clients[2], tokens(2)),
        parts(hold(3, HoldStep::Settle { actual: costs, reserved_at }), clients[3], &|part| {
            part.taken_at(reserved_at)
        }),
        parts(
            hold(4, HoldStep::Extend { from: costs, to: costs, reserved_at }),
            clients[4],
            &|part| if part.limit.name() == "slots" { part } else { part.holding(tokens(1)) },
        ),
        parts(check(Action::Renew), clients[5], &|part| part.taken_at(minute)),
        all(check(Action::Take), clients[6], 0),
    ];
    for check in &checks {
        fixture.decide(check.clone()).await;
    }
    if fixture.now().await.since(minute) > Duration::from_millis(900) {
        return; // The machine is too slow: the windows that have ended may be forgotten.
    }
    fixture.step_back(Duration::from_secs(7));
    let peeks = clients.iter().map(|&client| all(check(Action::Peek), client, 1));
    let looks = fixture.store.decide_all(&peeks.collect::<Vec<_>>()).await;
    let looks: Vec<Decision> = looks.into_iter().map(|look| look.unwrap()).collect();
    for (number, look) in looks.iter().enumerate() {
        for (verdict, first) in look.verdicts().iter().zip(looks[0].verdicts()) {
            assert_eq!(verdict.remaining, 7, "client {number}: {verdict:?}");
            assert_eq!(verdict, first, "client {number}");
        }
    }
}
