//! How a fleet takes a replica: what its announcements have led to.

use std::fmt;

use sluice_store::{Fleet, Formats, Replica, StoreError};

/// How a fleet takes a replica, by the replica's announcements.
///
/// [`Membership::standing`](crate::Membership::standing) returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Standing {
    /// No announcement has ended yet.
    Joining,
    /// The store lists the replica.
    Listed,
    /// The last announcement failed. The next one may succeed.
    ///
    /// With [`StoreError::Refused`], [`StoreError::WrongSettings`] and [`StoreError::Unreadable`],
    /// it probably does not until somebody mends the store or its settings, although the store may
    /// decide checks.
    Unlisted(StoreError),
    /// At the first announcement that succeeded, an older live replica spread its keys otherwise.
    ///
    /// The replica is announced all the same, and this stays: the process should call
    /// [`Membership::leave`](crate::Membership::leave) and end.
    Conflicting(Conflict),
}

/// A live replica that spreads the same keys over another number of partitions, so that it shares
/// few buckets with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The other replica, which was there first.
    pub other: Replica,
    /// The number of partitions over which it spreads its keys.
    pub partitions: u8,
    /// The number of partitions over which this replica spreads its keys.
    pub own_partitions: u8,
}

impl Conflict {
    /// Returns the conflict of the replica with this `id` with an older one of its `fleet`, if
    /// there is one.
    pub(crate) fn find(fleet: &Fleet, id: &str) -> Option<Self> {
        let own = fleet.replicas.iter().find(|live| live.replica.id == id);
        let (formats, age) =
            own.map_or((Formats::CURRENT, Default::default()), |own| (own.formats, own.age));
        let other = fleet.replicas.iter().find(|live| {
            let Formats { keys, partitions, .. } = live.formats;
            live.age > age && keys == formats.keys && partitions != formats.partitions
        })?;
        Some(Self {
            other: other.replica.clone(),
            partitions: other.formats.partitions,
            own_partitions: formats.partitions,
        })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { other: Replica { id, version, .. }, partitions, own_partitions } = self;
        write!(
            f,
            "the replica `{id}` (version {version}) spreads the keys over {partitions} partitions, \
             and this one over {own_partitions}, so that each of the two would grant every limit \
             on its own: run the same version everywhere, or give this one another `store.prefix`"
        )
    }
}

impl std::error::Error for Conflict {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_store::LiveReplica;

    use super::*;

    fn live(id: &str, age_s: u64, keys: u16, partitions: u8) -> LiveReplica {
        let mut formats = Formats::CURRENT;
        (formats.keys, formats.partitions) = (keys, partitions);
        LiveReplica::new(Replica::new(id, "9"), Duration::from_secs(age_s), Duration::ZERO)
            .with_formats(formats)
    }

    #[test]
    fn only_an_older_replica_with_the_same_keys_and_other_partitions_is_a_conflict() {
        let own = live("own", 1, 2, 64);
        for (other, conflicts) in [
            (live("other", 2, 2, 16), true),
            (live("other", 2, 2, 64), false),
            (live("other", 2, 3, 16), false),
            (live("other", 1, 2, 16), false),
            (live("other", 0, 2, 16), false),
        ] {
            let fleet = Fleet::new(vec![other.clone(), own.clone()]);
            assert_eq!(Conflict::find(&fleet, "own").is_some(), conflicts, "{other:?}");
        }
    }

    #[test]
    fn a_conflict_names_the_other_replica_both_numbers_and_the_remedy() {
        let fleet = Fleet::new(vec![live("api-7", 9, 2, 16), live("own", 0, 2, 64)]);
        let text = Conflict::find(&fleet, "own").unwrap().to_string();
        for part in ["`api-7` (version 9)", "over 16 ", "over 64,", "same version", "store.prefix"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
