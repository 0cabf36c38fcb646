//! What a node knows of its cluster: the reply to `CLUSTER NODES`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How one node sees the cluster.
#[derive(Debug)]
pub(super) struct View {
    nodes: Vec<Line>,
}

/// How one node sees a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) is_myself: bool,
    pub(super) is_primary: bool,
    /// Whether the two have not finished to introduce themselves.
    pub(super) is_in_handshake: bool,
    /// Whether the node is thought, or known, to have failed.
    pub(super) is_failing: bool,
    /// The id of a replica's primary.
    pub(super) primary: Option<String>,
    pub(super) epoch: u64,
    pub(super) is_connected: bool,
    /// The slots that a primary serves.
    pub(super) slots: Vec<RangeInclusive<u16>>,
    /// The slots that leave this node, each with the id of the node that it goes to.
    pub(super) leaving: Vec<(u16, String)>,
}

// === impl View ===

impl View {
    /// Reads the reply to `CLUSTER NODES`.
    ///
    /// # Errors
    /// When a line of it has another form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let line = |line| Line::parse(line).ok_or_else(|| format!("not a line of nodes: {line}"));
        let nodes = text.lines().filter(|line| !line.is_empty()).map(line);
        nodes.collect::<Result<_, _>>().map(|nodes| Self { nodes })
    }

    pub(super) fn nodes(&self) -> &[Line] {
        &self.nodes
    }

    pub(super) fn node(&self, id: &str) -> Option<&Line> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Returns the node's own line.
    pub(super) fn myself(&self) -> Option<&Line> {
        self.nodes.iter().find(|node| node.is_myself)
    }

    /// Returns the node's own line.
    pub(super) fn into_myself(self) -> Option<Line> {
        self.nodes.into_iter().find(|node| node.is_myself)
    }

    /// Whether this node knows of another what that says of itself.
    ///
    /// A primary hands over only to a node that it knows to be its replica, and a node that does
    /// not know the latest epoch of a slot's primary cannot take the slot for good.
    pub(super) fn knows(&self, own: &Line) -> bool {
        self.node(&own.id).is_some_and(|line| {
            line.primary == own.primary && (line.epoch == own.epoch || !own.is_primary)
        })
    }

    /// Returns where this node thinks the slots are: the first slot of each range, its last, and
    /// the id of its primary.
    pub(super) fn slot_map(&self) -> BTreeMap<u16, (u16, &str)> {
        let nodes = self.nodes.iter().filter(|node| node.is_primary);
        nodes
            .flat_map(|node| {
                node.slots.iter().map(|range| (*range.start(), (*range.end(), &*node.id)))
            })
            .collect()
    }
}

// === impl Line ===

impl Line {
    pub(super) fn serves(&self, slot: u16) -> bool {
        self.is_primary && self.slots.iter().any(|range| range.contains(&slot))
    }

    pub(super) fn has_slots(&self) -> bool {
        self.is_primary && !self.slots.is_empty()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        let _address = words.next()?;
        let flags: Vec<_> = words.next()?.split(',').collect();
        let primary = Some(words.next()?).filter(|&id| id != "-").map(str::to_owned);
        let mut words = words.skip(2);
        let epoch = words.next()?.parse().ok()?;
        let is_connected = words.next()? == "connected";
        let (mut slots, mut leaving) = (Vec::new(), Vec::new());
        for word in words.filter(|word| !word.is_empty()) {
            match word.strip_prefix('[') {
                None => slots.push(range(word)?),
                Some(moving) => {
                    let moving = moving.strip_suffix(']')?;
                    if let Some((slot, to)) = moving.split_once("->-") {
                        leaving.push((slot.parse().ok()?, to.to_owned()));
                    }
                }
            }
        }
        let has = |flag| flags.contains(&flag);
        Some(Self {
            is_myself: has("myself"),
            is_primary: has("master"),
            is_in_handshake: has("handshake"),
            is_failing: has("fail") || has("fail?"),
            id,
            primary,
            epoch,
            is_connected,
            slots,
            leaving,
        })
    }
}

fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
        a1 127.0.0.1:13000@13500 myself,master - 0 0 4 connected 0-5459 5461 [7->-b2] [9-<-b2]\n\
        b2 127.0.0.1:13001@13501,name master,fail? - 0 17 2 disconnected 5462-16383\n\
        c3 127.0.0.1:13002@13502 slave a1 0 17 4 connected\n\
        d4 :0@0 handshake - 0 0 0 connected\n";

    #[test]
    fn every_part_of_a_line_is_read() {
        let view = View::parse(NODES).unwrap();
        let expected = Line {
            id: "a1".into(),
            is_myself: true,
            is_primary: true,
            is_in_handshake: false,
            is_failing: false,
            primary: None,
            epoch: 4,
            is_connected: true,
            slots: vec![0..=5459, 5461..=5461],
            leaving: vec![(7, "b2".into())],
        };
        assert_eq!(view.myself(), Some(&expected));
        assert!(expected.serves(5461) && !expected.serves(5460));
        let b = view.node("b2").unwrap();
        assert!(b.is_failing && !b.is_connected && !b.is_myself);
        assert_eq!(view.node("c3").unwrap().primary.as_deref(), Some("a1"));
        assert!(view.nodes()[3].is_in_handshake);
    }

    #[test]
    fn the_slot_map_has_each_range_and_its_primary() {
        let view = View::parse(NODES).unwrap();
        let ranges: Vec<_> = view.slot_map().into_iter().collect();
        assert_eq!(ranges, [(0, (5459, "a1")), (5461, (5461, "a1")), (5462, (16_383, "b2"))]);
    }

    #[test]
    fn another_text_is_an_error() {
        assert_eq!(View::parse("OK").unwrap_err(), "not a line of nodes: OK");
    }
}
