//! The canonical form of a router's state: two states with the same form behave the same, whatever comes.
//!
//! - Peers, names, instances and calls are kept. Counters, peaks, accounts (the invariants recompute them from the rest, and all peers
//!   are one user's), limits, waits (their calls say the same), the wheel (it repeats the deadlines) and turns of peers (none waits for
//!   one between two steps) are left out.
//! - Each table has an order of its own: peers that of the small world, instances that of their peers, names the alphabet, calls their
//!   acceptance. An id becomes the place in that order: where a row is in its table, and where the next one comes, makes no difference.
//! - A moment becomes the time until it. The deadline of a call that no caller waits for is left out.
//! - Lists of calls are in the order of acceptance, too, as long as no window is greater than one. So of a list only the length is
//!   kept: which calls it holds, they say themselves.
//! - Turns of instances become ranks among those of the same name. Their loads repeat what the instances say.
//! - Generations, the callers' own numbers and peers' numbers only ever grow, and are left out. Rows never refer to a row that is gone,
//!   apart from the route that a peer remembers: it is left out once it is stale.

use ipcd::core::{Moment, PeerId};
use serde_json::{Map, Value};

/// The canonical form of a state at a time, whose peers are these.
pub(crate) fn of(mut state: Value, now: Moment, peers: &[PeerId]) -> Value {
    assert_eq!(state["assembly"]["waiting"], Value::Array(Vec::new()), "no frame of a small world waits for room");
    let board = &mut state["board"];
    let mut canon = Canon::new(now, board, peers);
    let calls = canon.calls.take();
    let mut kept = Value::from(vec![
        sorted(&canon.peers, board["post"]["peers"]["table"]["places"].take()),
        sorted(&canon.names, board["names"]["names"]["places"].take()),
        sorted(&canon.instances, board["names"]["instances"]["places"].take()),
        calls,
        board["draining"].take(),
    ]);
    canon.reduce(&mut kept);
    kept
}

/// What a form is made with. Of each table, the places of its rows in their order.
struct Canon {
    now: u64,
    epoch: Value,
    peers: Vec<usize>,
    names: Vec<usize>,
    instances: Vec<usize>,
    calls: Value,
    /// The turns of each name's instances.
    turns: Vec<(Value, u64)>,
}

impl Canon {
    fn new(now: Moment, board: &Value, peers: &[PeerId]) -> Self {
        let peers: Vec<_> = peers.iter().map(|id| id.index()).collect();
        let of_peers = &board["post"]["peers"]["table"]["places"];
        let own = |peer: &usize| all(&of_peers[peer]["row"]["instances"]).map(place);
        let instances: Vec<_> = peers.iter().flat_map(own).collect();
        let of_instances = &board["names"]["instances"]["places"];
        let turn = |at: &usize| {
            let row = &of_instances[at]["row"];
            (row["name"].clone(), row["turn"].as_u64().expect("a number"))
        };
        Self {
            now: now.0,
            epoch: board["names"]["epoch"].clone(),
            turns: instances.iter().map(turn).collect(),
            names: by(&board["names"]["names"]["places"], |row| row["name"].as_str().map(str::to_owned)),
            calls: sorted(
                &by(&board["calls"]["slots"]["places"], |row| row["sequence"].as_u64()),
                board["calls"]["slots"]["places"].clone(),
            ),
            peers,
            instances,
        }
    }

    fn reduce(&self, value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(|one| self.reduce(one)),
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
        let name = fields.get("name").cloned();
        fields.retain(|field, value| match field.as_str() {
            "id" | "number" | "identity" | "stamp" | "agent" | "connected" | "last_call" | "turns" | "delivered"
            | "link" | "links" | "sequence" | "credit" | "account" | "payer" | "load" | "first" => false,
            "caller" => !value.is_array(), // a stamp
            "due" => is_armed,
            "deadline" => is_awaited,
            _ => true,
        });
        for (field, value) in fields {
            match field.as_str() {
                "deadline" | "due" | "since" => *value = (value.as_i64().unwrap() - self.now.cast_signed()).into(),
                "pending" | "queue" | "running" | "direct" if value.is_object() => *value = value["len"].take(),
                "turn" => *value = self.rank(name.as_ref(), value),
                "route" if value["epoch"] != self.epoch => *value = Value::Null,
                "route" => value["epoch"] = Value::Null,
                "order" => each(value, |load_and_id| rename(&self.instances, &load_and_id[1])),
                "instances" => each(value, |id| rename(&self.instances, id)),
                "Running" => *value = rename(&self.instances, value),
                "Direct" => value[0] = rename(&self.instances, &value[0]),
                "Queued" => value[0] = rename(&self.names, &value[0]),
                "name" if value.is_object() => *value = rename(&self.names, value),
                "peer" => *value = rename(&self.peers, value),
                _ => {}
            }
        }
    }

    /// The rank of an instance's turn among those of its name.
    fn rank(&self, name: Option<&Value>, turn: &Value) -> Value {
        let is_before = |(of, other): &&(Value, u64)| !of.is_null() && Some(of) == name && Some(*other) < turn.as_u64();
        self.turns.iter().filter(is_before).count().into()
    }
}

/// The places of a table's rows, in the order of a key.
fn by<K: Ord>(places: &Value, key: impl Fn(&Value) -> K) -> Vec<usize> {
    let rows = all(places).zip(0..).filter(|(place, _)| !place["row"].is_null());
    let mut keyed: Vec<_> = rows.map(|(place, at)| (key(&place["row"]), at)).collect();
    keyed.sort();
    keyed.into_iter().map(|(_, at)| at).collect()
}

/// The rows of a table in this order, which must be all of them.
fn sorted(order: &[usize], mut places: Value) -> Value {
    let rows: Vec<_> = order.iter().map(|at| places[at]["row"].take()).collect();
    assert!(all(&places).all(|place| place["row"].is_null()), "a row has no place in the order: {places}");
    rows.into()
}

/// The id of a row, as its place in the order.
fn rename(order: &[usize], id: &Value) -> Value {
    match id {
        Value::Null => Value::Null,
        id => order.iter().position(|at| *at == place(id)).expect("rows refer to rows that exist").into(),
    }
}

/// The place that an id names.
fn place(id: &Value) -> usize {
    id["index"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or_else(|| panic!("{id} is not an id"))
}

fn each(array: &mut Value, change: impl Fn(&Value) -> Value) {
    array.as_array_mut().into_iter().flatten().for_each(|one| *one = change(one));
}

fn all(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}
