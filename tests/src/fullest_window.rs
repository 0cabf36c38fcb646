//! The window that exceeds a limit most, found among millions of admissions.
//!
//! A window from `start` to `end` admits too much if `tokens - rate * (end - start)` is greater
//! than the burst, which is `tokens + rate * start` against `burst + rate * end`. So the ends are
//! visited one after the other, and a tree knows the start for which the left side is greatest.

/// Starts of windows in their order, each with what windows from there contain so far.
#[derive(Debug)]
pub(crate) struct Starts {
    /// A binary tree: the children of a node are at twice its index and beside that. All are in
    /// the same unit, which the caller chooses.
    nodes: Vec<Node>,
    leaves: usize,
}

/// The starts below a node.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// What was added at these starts.
    sum: i128,
    /// The most of any of these starts: its own value, and what was added at it and at the later
    /// ones. Very little while nothing was added.
    most: i128,
}

// === impl Starts ===

impl Starts {
    /// Makes as many starts, of which windows contain nothing yet.
    pub(crate) fn new(count: usize) -> Self {
        let leaves = count.next_power_of_two();
        Self { nodes: vec![Node::EMPTY; 2 * leaves], leaves }
    }

    /// Adds `amount` to all windows that begin at this start or at an earlier one. The value of the
    /// start itself is `value`.
    pub(crate) fn add(&mut self, start: usize, value: i128, amount: i128) {
        let mut index = self.leaves + start;
        self.nodes[index] = Node { sum: amount, most: value + amount };
        while index > 1 {
            index /= 2;
            self.nodes[index] = self.nodes[2 * index].before(self.nodes[2 * index + 1]);
        }
    }

    /// Returns the most of all starts.
    pub(crate) fn most(&self) -> i128 {
        self.nodes[1].most
    }
}

// === impl Node ===

impl Node {
    /// Half of the range, so that sums do not overflow.
    const EMPTY: Self = Self { sum: 0, most: i128::MIN / 2 };

    fn before(self, later: Self) -> Self {
        Self { sum: self.sum + later.sum, most: later.most.max(self.most + later.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_at_a_start_is_in_all_windows_from_earlier_ones() {
        let mut starts = Starts::new(3);
        starts.add(1, 10, 1);
        assert_eq!(starts.most(), 11);
        starts.add(2, 8, 2);
        assert_eq!(starts.most(), 13);
        starts.add(0, 11, 5);
        assert_eq!(starts.most(), 11 + 5 + 1 + 2);
    }

    #[test]
    fn a_start_at_which_nothing_was_added_is_no_window() {
        let mut starts = Starts::new(2);
        starts.add(0, -5, 1);
        assert_eq!(starts.most(), -4);
    }
}
