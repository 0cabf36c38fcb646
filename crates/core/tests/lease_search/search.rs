//! Visits states, the nearest first.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use crate::{
    act::Act,
    faults::Fault,
    state::{Case, State},
};

/// What a search found.
#[derive(Debug)]
pub(crate) enum Found {
    /// No state breaks the promise; whether all were visited.
    Nothing { states: usize, is_all: bool },
    /// The shortest way to a token too many.
    Excess { acts: Vec<Act> },
}

/// The states that were visited, each known by 128 bits: that two share them by chance, in a
/// billion of them, is as likely as one in 10^21.
#[derive(Debug, Default)]
struct Visited {
    keys: HashSet<u128>,
    hashers: [RandomState; 2],
}

impl Visited {
    /// Adds a state. Returns whether it is new.
    fn add(&mut self, state: &State) -> bool {
        let key = state.key();
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(&key)));
        self.keys.insert(high << 64 | low)
    }
}

/// Visits up to `most` states of `case`, with a fault if there is one.
pub(crate) fn search(case: Case, fault: Option<Fault>, most: usize) -> Found {
    let rate = case.rate();
    let start = case.start(&rate, fault);
    let mut visited = Visited::default();
    visited.add(&start);
    // How each state was reached: from which one, and by what.
    let mut ways = vec![(0, Act::Step)];
    let mut queue = VecDeque::from([(0, start)]);
    while let Some((index, state)) = queue.pop_front() {
        for act in state.acts(case, fault) {
            let Ok(next) = state.after(act, case, &rate, fault) else {
                return Found::Excess { acts: way_to(&ways, index, act) };
            };
            if !visited.add(&next) {
                continue;
            }
            if ways.len() >= most {
                return Found::Nothing { states: ways.len(), is_all: false };
            }
            queue.push_back((ways.len(), next));
            ways.push((index, act));
        }
    }
    Found::Nothing { states: ways.len(), is_all: true }
}

fn way_to(ways: &[(usize, Act)], mut index: usize, last: Act) -> Vec<Act> {
    let mut acts = vec![last];
    while index > 0 {
        acts.push(ways[index].1);
        index = ways[index].0;
    }
    acts.reverse();
    acts
}
