//! Slots that move from one node to another.

use std::ops::RangeInclusive;

use super::nodes::{RedisCluster, SLOTS};
use crate::eventually::eventually;
use crate::redis::launch::KIT_USER;
use crate::redis::reply::Reply;
use crate::redis::server::RedisServer;

/// How many milliseconds a node may take to pass on keys.
const MIGRATE_TIMEOUT: &str = "10000";
/// How many keys [`RedisCluster::move_slot`] moves at a time.
const KEYS_AT_A_TIME: usize = 100;

impl RedisCluster {
    /// Begins to move a slot to another primary: clients are told to ask there (`ASK`) for keys
    /// that are not where they were.
    ///
    /// # Panics
    /// When a node refuses, for example because it serves the slot already.
    #[track_caller]
    pub fn begin_move(&self, slot: u16, to: &RedisServer) {
        let (from, _) = self.node_of(slot);
        let (from_id, to_id) = (self.id_of(from), self.id_of(to));
        let slot = slot.to_string();
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id]);
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id]);
    }

    /// Moves up to `count` keys of a slot whose move has begun, and returns how many it moved.
    ///
    /// # Panics
    /// When the slot's move has not begun, or a node refuses.
    #[track_caller]
    pub fn move_keys(&self, slot: u16, count: usize) -> usize {
        let (from, to, _) = self.move_of(slot);
        let (slot, count) = (slot.to_string(), count.to_string());
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, &count]);
        let keys: Vec<_> = keys.items().iter().map(bytes).collect();
        if keys.is_empty() {
            return 0;
        }
        let port = to.port().to_string();
        let mut command: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0"];
        command.extend([MIGRATE_TIMEOUT, "AUTH2", KIT_USER, KIT_USER, "KEYS"].map(str::as_bytes));
        command.extend(&keys);
        from.command(&command);
        keys.len()
    }

    /// Ends the move of a slot whose keys have all been moved, and waits until all nodes know of
    /// it.
    ///
    /// # Panics
    /// When the slot's move has not begun, or keys are left.
    #[track_caller]
    pub fn finish_move(&self, slot: u16) {
        let (from, to, to_id) = self.move_of(slot);
        let others = self.primaries().into_iter().filter(|node| node.port() != from.port());
        let others: Vec<_> = others.filter(|node| node.port() != to.port()).collect();
        // The new primary first: should it end in between, then no node serves the slot twice.
        for node in [to, from].into_iter().chain(others) {
            node.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &to_id]);
        }
        self.wait_until_ok();
    }

    /// Moves a slot with its keys to another primary, and waits until all nodes know of it.
    ///
    /// # Panics
    /// As the three steps: [`RedisCluster::begin_move`], [`RedisCluster::move_keys`] and
    /// [`RedisCluster::finish_move`].
    #[track_caller]
    pub fn move_slot(&self, slot: u16, to: &RedisServer) {
        self.begin_move(slot, to);
        while self.move_keys(slot, KEYS_AT_A_TIME) > 0 {}
        self.finish_move(slot);
    }

    /// Moves slots of one primary with their keys to another, as Valkey does since version 9: no
    /// client is told to ask elsewhere before all have moved. Waits until all nodes know of it.
    ///
    /// # Panics
    /// When the slots belong to several primaries, the server is older, or the move fails or takes
    /// more than twenty seconds.
    #[track_caller]
    pub fn move_slots_atomically(&self, slots: RangeInclusive<u16>, to: &RedisServer) {
        let (first, last) = (*slots.start(), *slots.end());
        assert!(first <= last && last < SLOTS, "there are no slots {first} to {last}");
        let (from, _) = self.node_of(first);
        let (first, last) = (first.to_string(), last.to_string());
        let move_slots = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &first, &last, "NODE"];
        from.command(&[&move_slots[..], &[self.id_of(to)]].concat());
        let (state, details) = eventually("the slots have moved", || {
            let moves = from.command(&["CLUSTER", "GETSLOTMIGRATIONS"]);
            // The latest one comes first.
            let latest = moves.items().first().cloned().ok_or("the move is not listed")?;
            let state = latest.field("state").ok_or("the move has no state")?.text();
            match &*state {
                "success" | "failed" | "cancelled" => Ok((state, latest)),
                _ => Err(format!("the move's state is {state}")),
            }
        });
        assert_eq!(state, "success", "the slots did not move: {details:?}");
        self.wait_until_ok();
    }

    /// Returns from where and to where a slot moves, and the id of the latter.
    #[track_caller]
    fn move_of(&self, slot: u16) -> (&RedisServer, &RedisServer, String) {
        let (from, line) = self.node_of(slot);
        let to_id = line.leaving.into_iter().find(|(leaving, _)| *leaving == slot);
        let Some((_, to_id)) = to_id else {
            panic!("slot {slot} of node {} does not move: call begin_move", from.port());
        };
        match self.running().find(|(_, id)| *id == to_id) {
            Some((to, _)) => (from, to, to_id),
            None => panic!("slot {slot} moves to node {to_id}, which does not run"),
        }
    }
}

#[track_caller]
fn bytes(reply: &Reply) -> &[u8] {
    match reply {
        Reply::Bulk(bytes) => bytes,
        other => panic!("expected a key, not {other:?}"),
    }
}
