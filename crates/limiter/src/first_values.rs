//! Values of which each of the first ones is logged once.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::Hash,
    sync::{PoisonError, RwLock},
};

/// How many values are remembered, and so logged. Clients choose them, and must not be able to fill
/// the log.
pub(crate) const MOST: usize = 32;

/// The first values that were noted.
#[derive(Debug)]
pub(crate) struct FirstValues<T> {
    known: RwLock<HashSet<T>>,
}

impl<T> Default for FirstValues<T> {
    fn default() -> Self {
        Self { known: RwLock::default() }
    }
}

impl<T: Eq + Hash> FirstValues<T> {
    /// Notes a value. Returns how many are known if it is new, and `None` if it is known, or if
    /// [`MOST`] others are.
    pub(crate) fn note<Q>(&self, value: &Q) -> Option<usize>
    where
        T: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = T> + ?Sized,
    {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST || known.contains(value) {
                return None;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        (known.len() < MOST && known.insert(value.to_owned())).then(|| known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_new_once_and_only_so_many_values_are() {
        let values = FirstValues::<String>::default();
        assert_eq!(values.note("a"), Some(1));
        assert_eq!(values.note("a"), None);
        for number in 1..MOST {
            assert_eq!(values.note(number.to_string().as_str()), Some(number + 1));
        }
        assert_eq!(values.note("b"), None, "the log is not filled by new values");
    }
}
