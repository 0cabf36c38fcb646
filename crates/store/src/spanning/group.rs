//! Splits a check into groups.

use sluice_core::{Check, Decision, Part};
use smallvec::SmallVec;

use crate::{StoreError, StoreFuture};

/// The decision on one group.
pub(crate) type GroupFuture = StoreFuture<'static, Result<Decision, StoreError>>;

/// What tells the groups of a check apart.
pub(crate) trait GroupKey: Clone + Send + Sync + 'static {}

impl<K: Clone + Send + Sync + 'static> GroupKey for K {}

/// Sends the check of a group to where its key says.
pub(crate) trait DecideGroup<K>:
    Fn(&K, Check) -> GroupFuture + Send + Sync + 'static
{
}

impl<K, F: Fn(&K, Check) -> GroupFuture + Send + Sync + 'static> DecideGroup<K> for F {}

/// The parts of a check that are decided in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Group<K> {
    /// What these parts have in common.
    pub(crate) key: K,
    /// A check of these parts alone, which does the same.
    pub(crate) check: Check,
    /// The indices of these parts in the whole check.
    pub(crate) parts: SmallVec<[usize; 4]>,
}

/// Splits `check` into groups of parts with the same key, in the order in which the keys come
/// first. Returns `None`, and allocates nothing, if one group would have all parts, or none.
pub(crate) fn split<K: PartialEq>(
    check: &Check,
    key: impl Fn(&Part) -> K,
) -> Option<Vec<Group<K>>> {
    let (first, rest) = check.parts().split_first()?;
    if rest.is_empty() {
        return None;
    }
    let first = key(first);
    if rest.iter().all(|part| key(part) == first) {
        return None;
    }
    let mut groups: Vec<Group<K>> = Vec::new();
    for (index, part) in check.parts().iter().enumerate() {
        let key = key(part);
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) => {
                group.check.push(part.clone());
                group.parts.push(index);
            }
            None => {
                let mut alone = check.without_parts();
                alone.push(part.clone());
                groups.push(Group { key, check: alone, parts: SmallVec::from_slice(&[index]) });
            }
        }
    }
    Some(groups)
}

/// Returns a check that does what `other` does, to the buckets of `check` and with its costs.
pub(super) fn doing_as(other: &Check, check: &Check) -> Check {
    let mut done = other.without_parts();
    check.parts().iter().cloned().for_each(|part| done.push(part));
    done
}
