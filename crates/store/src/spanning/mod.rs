//! Checks whose buckets cannot be decided in one piece, since they are on several servers, or in
//! several partitions of one.
//!
//! Such a check is decided group by group. It never admits more than in one piece: its tokens are
//! taken in order, and given back if a later group denies. In between another check may find them
//! missing, and a process that ends in between leaves them taken. Checks that name the same buckets
//! in different orders may so deny each other when few tokens are left; those that a policy makes
//! name them in the order of its limits.
//!
//! | file | what it does |
//! |---|---|
//! | `group` | splits a check |
//! | `taking` | takes in order, and gives back what was taken when its owner goes away |
//! | `combined` | makes one decision of several |

mod combined;
mod group;
mod taking;
#[cfg(test)]
mod tests;

use sluice_core::{Action, Check, Decision};

pub(crate) use self::group::{Group, GroupFuture, split};
use self::{
    combined::{Aside, Combined, Instead},
    group::{DecideGroup, GroupKey},
    taking::Taking,
};
use crate::{StoreError, join_all::join_all};

/// Decides `check`, which was [`split`] into `groups`, by sending each group's check with `decide`.
///
/// - [`Action::Take`], [`Action::Reserve`] and [`Action::Extend`]: the groups are asked one after
///   the other. When one denies, what earlier ones took is given back, and the rest is only peeked
///   at. The decision shows every bucket as it is then.
/// - Otherwise all groups are asked at once, each exactly once.
///
/// When the future is dropped before it is ready, what was taken is given back by a task on the
/// current runtime; without one it stays taken.
///
/// # Errors
/// The first error of a group. What other groups took has been given back, as far as they could be
/// reached; other actions stay done.
///
/// # Holds
/// What was taken for a hold is only given back after a denial. If there is no decision, its caller
/// may make the same step again, which then finds what was done. To undo it might come too late,
/// and undo the second attempt.
#[cfg(any(feature = "redis", test))]
pub(crate) async fn decide_in_order<K: GroupKey>(
    check: &Check,
    groups: Vec<Group<K>>,
    decide: impl DecideGroup<K>,
) -> Result<Decision, StoreError> {
    run(check, groups, decide, None).await
}

/// Decides as [`decide_in_order`] does, but groups that fail are decided by `instead`: together,
/// and last, since what was admitted there cannot be given back.
///
/// # Errors
/// That of `instead`. What was taken has been given back then, unless it is that of a hold.
pub(crate) async fn decide_in_order_or<K: GroupKey>(
    check: &Check,
    groups: Vec<Group<K>>,
    decide: impl DecideGroup<K>,
    instead: Instead<'_>,
) -> Result<Decision, StoreError> {
    run(check, groups, decide, Some(instead)).await
}

async fn run<K: GroupKey>(
    check: &Check,
    groups: Vec<Group<K>>,
    decide: impl DecideGroup<K>,
    instead: Option<Instead<'_>>,
) -> Result<Decision, StoreError> {
    if let Action::Take | Action::Reserve | Action::Extend = check.action() {
        return take_in_order(check, groups, decide, instead).await;
    }
    let asked = groups.iter().map(|group| decide(&group.key, group.check.clone()));
    let results = join_all(asked).await;
    let (mut combined, mut failed) = (Combined::new(check), Aside::default());
    for (group, result) in groups.iter().zip(results) {
        match result {
            Ok(decision) => combined.add(&group.parts, &decision),
            Err(error) => failed.add(group, error),
        }
    }
    failed.decide(check, instead, &mut combined)?;
    Ok(combined.into_decision())
}

async fn take_in_order<K: GroupKey>(
    check: &Check,
    groups: Vec<Group<K>>,
    decide: impl DecideGroup<K>,
    instead: Option<Instead<'_>>,
) -> Result<Decision, StoreError> {
    let (mut combined, mut failed) = (Combined::new(check), Aside::default());
    let mut taking = Taking::new(decide);
    let mut groups = groups.into_iter();
    for group in &mut groups {
        match taking.take(&group).await {
            Ok(decision) => combined.add(&group.parts, &decision),
            Err(error) => failed.add(&group, error),
        }
        if !combined.is_allowed() || (failed.has_any() && instead.is_none()) {
            break;
        }
    }
    if combined.is_allowed()
        && let Err(error) = failed.decide(check, instead, &mut combined)
    {
        // A hold that could not be made everywhere may be made again: what has it already knows it.
        if check.hold().is_some() {
            taking.keep();
        } else {
            taking.give_back(|_, _| ()).await;
        }
        return Err(error);
    }
    if combined.is_allowed() {
        taking.keep();
        return Ok(combined.into_decision());
    }
    let not_asked: Vec<_> = groups.collect();
    let peeks = join_all(not_asked.iter().map(|group| taking.peek(group)));
    let (peeked, ()) =
        tokio::join!(peeks, taking.give_back(|parts, after| combined.gave_back(parts, after)));
    for (group, result) in not_asked.iter().zip(peeked) {
        match result {
            Ok(decision) => combined.add(&group.parts, &decision),
            Err(error) => failed.add(group, error),
        }
    }
    failed.decide(&Check::new(Action::Peek), instead, &mut combined)?;
    Ok(combined.into_decision())
}
