//! The canonical form of a router's state: two states with the same form behave the same, whatever comes.
//!
//! - Peers, names, instances, calls and parked frames are kept. Counters, peaks, accounts (the invariants recompute them from the rest),
//!   limits, waits (their calls say the same), the wheel (it repeats the deadlines) and turns of peers (none waits for one between two
//!   steps) are left out.
//! - A moment becomes the time until it. The deadline of a call that no caller waits for is left out.
//! - Calls stand in the order of their acceptance, and have no other number. All lists of calls are in this order, too, as long as a
//!   window is no greater than one, so that of a list only its length is kept: which calls it holds, they say themselves.
//! - Turns of instances become ranks: only their order matters.
//! - Generations, the callers' own numbers and peers' numbers only ever grow, and are left out. So a place in a table stands for its
//!   row. Rows never refer to a row that is gone, apart from the route that a peer remembers: it is left out once it is stale.
//! - The order of free places is left out, too: it decides which place is used next, and a place has no meaning.

use std::collections::BTreeSet;

use ipcd::core::Moment;
use serde_json::{Map, Value};

/// The canonical form of a state in JSON at a time.
pub(crate) fn of(state: &str, now: Moment) -> String {
    let mut state: Value = serde_json::from_str(state).expect("it was written as JSON");
    let board = &mut state["board"];
    let epoch = board["names"]["epoch"].take();
    let mut kept = [
        board["post"]["peers"]["table"]["places"].take(),
        board["names"]["names"]["places"].take(),
        board["names"]["instances"]["places"].take(),
        in_order(board["calls"]["slots"]["places"].take()),
        board["draining"].take(),
        state["assembly"].take(),
    ];
    let mut canon = Canon { now: now.0, epoch, turns: BTreeSet::new() };
    kept.iter().for_each(|part| canon.collect(part));
    kept.iter_mut().for_each(|part| canon.reduce(part));
    Value::from(kept.to_vec()).to_string()
}

struct Canon {
    now: u64,
    epoch: Value,
    turns: BTreeSet<u64>,
}

impl Canon {
    /// Notes the turns, of which only the order matters.
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| self.collect(one)),
            Value::Object(fields) => {
                self.turns.extend(fields.get("turn").and_then(Value::as_u64));
                fields.values().for_each(|one| self.collect(one));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn reduce(&self, value: &mut Value) {
        match value {
            Value::Array(all) => {
                all.iter_mut().for_each(|one| self.reduce(one));
                while all.last().is_some_and(is_free_place) {
                    all.pop();
                }
            }
            Value::Object(fields) => {
                self.reduce_fields(fields);
                fields.values_mut().for_each(|one| self.reduce(one));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn reduce_fields(&self, fields: &mut Map<String, Value>) {
        let is_armed = fields.get("armed") != Some(&Value::Bool(false));
        let is_awaited = fields.get("caller").is_none_or(|caller| caller != "Gone");
        let is_stamp = |value: &Value| value.is_array();
        fields.retain(|name, value| match name.as_str() {
            "generation" | "id" | "number" | "identity" | "stamp" | "agent" | "connected" | "last_call" | "turns"
            | "delivered" | "links" | "sequence" | "credit" => false,
            "caller" => !is_stamp(value),
            "due" => is_armed,
            "deadline" => is_awaited,
            _ => true,
        });
        for (name, value) in fields {
            match name.as_str() {
                "deadline" | "due" | "since" => *value = (value.as_i64().unwrap() - self.now.cast_signed()).into(),
                "pending" | "queue" | "running" | "direct" if value.is_object() => *value = value["len"].take(),
                "turn" => *value = rank(&self.turns, value),
                "route" if value["epoch"] != self.epoch => *value = Value::Null,
                "route" => value["epoch"] = Value::Null,
                _ => {}
            }
        }
    }
}

/// The calls in the order of their acceptance.
fn in_order(places: Value) -> Value {
    let Value::Array(mut places) = places else { panic!("a table has places: {places}") };
    places.retain(|place| !is_free_place(place));
    places.sort_by_key(|place| place["row"]["sequence"].as_u64());
    places.into()
}

fn is_free_place(value: &Value) -> bool {
    value.as_object().is_some_and(|place| place.get("row") == Some(&Value::Null))
}

fn rank(among: &BTreeSet<u64>, value: &Value) -> Value {
    among.range(..value.as_u64().unwrap()).count().into()
}
