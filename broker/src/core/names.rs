//! Names and the instances behind them.

use std::collections::BTreeMap;

use ipc_protocol::{MethodName, ServiceName, control};
use serde::{Deserialize, Serialize};

use super::{
    calls::List,
    peers::PeerId,
    table::{Id, Table},
};

/// Id of a name that is on offer.
pub(crate) type NameId = Id<Name>;
/// Id of an instance.
pub(crate) type InstanceId = Id<Instance>;

/// A name on offer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) name: ServiceName,
    /// Whether several instances may offer it.
    pub(crate) shared: bool,
    /// Who offers it; never empty.
    pub(crate) instances: Vec<InstanceId>,
    /// Where the search for the next instance starts: equal loads take turns.
    turn: usize,
    /// Calls that wait for an instance with room.
    pub(crate) queue: List,
    /// Calls delivered since the name appeared.
    pub(crate) delivered: u64,
}

/// One registration of a peer: a name, or none, and how many calls it takes at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) peer: PeerId,
    pub(crate) name: Option<NameId>,
    /// Calls it takes at once; 0 once it is retired.
    pub(crate) window: u32,
    /// Calls delivered to it that it has not answered.
    pub(crate) running: List,
    /// Calls to `@N` that wait for room.
    pub(crate) direct: List,
    pub(crate) methods: Vec<MethodName>,
    /// Bytes charged to its peer's user for what it holds.
    pub(crate) charge: usize,
}

/// All names and instances.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Names {
    by_name: BTreeMap<ServiceName, NameId>,
    names: Table<Name>,
    instances: Table<Instance>,
}

impl Instance {
    /// What a peer asks for in a registration, under no name yet.
    pub(crate) fn new(peer: PeerId, request: control::Register) -> Self {
        const ROWS: usize = 256; // of the instance and, at most, of its name
        let name = request.name.as_ref().map_or(0, |name| 2 * name.as_str().len());
        let methods: usize = request.methods.iter().map(|method| size_of::<MethodName>() + method.as_str().len()).sum();
        Self {
            peer,
            name: None,
            window: request.window.max(1),
            running: List::default(),
            direct: List::default(),
            methods: request.methods,
            charge: ROWS + name + methods,
        }
    }
}

impl Names {
    pub(crate) fn new() -> Self {
        Self { by_name: BTreeMap::new(), names: Table::new(), instances: Table::new() }
    }

    /// The name with these bytes.
    pub(crate) fn find(&self, name: &[u8]) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// Adds an instance, under a name or under none. Whether the name is free was asked before.
    pub(crate) fn register(&mut self, name: Option<&ServiceName>, shared: bool, instance: Instance) -> InstanceId {
        let id = self.instances.insert(instance);
        if let Some(name) = name {
            let name_id = self.by_name.get(name).copied().unwrap_or_else(|| {
                let row = Name {
                    name: name.clone(),
                    shared,
                    instances: Vec::new(),
                    turn: 0,
                    queue: List::default(),
                    delivered: 0,
                };
                let id = self.names.insert(row);
                self.by_name.insert(name.clone(), id);
                id
            });
            if let Some(row) = self.names.get_mut(name_id) {
                row.instances.push(id);
            }
            if let Some(row) = self.instances.get_mut(id) {
                row.name = Some(name_id);
            }
        }
        id
    }

    /// Takes an instance off its name: it gets no further calls, and may answer those it has. Returns the name, with its queue, if
    /// it was the last instance.
    pub(crate) fn retire(&mut self, id: InstanceId) -> Option<Name> {
        let instance = self.instances.get_mut(id)?;
        instance.window = 0;
        let name_id = instance.name.take()?;
        let name = self.names.get_mut(name_id)?;
        name.instances.retain(|other| *other != id);
        if !name.instances.is_empty() {
            return None;
        }
        let name = self.names.remove(name_id)?;
        self.by_name.remove(&name.name);
        Some(name)
    }

    /// Removes an instance that was retired.
    pub(crate) fn remove(&mut self, id: InstanceId) -> Option<Instance> {
        self.instances.remove(id)
    }

    /// The instance that takes the next call: the one with the fewest calls in flight that `has_room` agrees to; among equals
    /// they take turns.
    pub(crate) fn choose(&mut self, id: NameId, has_room: impl Fn(&Instance) -> bool) -> Option<InstanceId> {
        let name = self.names.get_mut(id)?;
        let count = name.instances.len();
        let order = (0..count).map(|step| (name.turn + step) % count);
        let best = order
            .filter_map(|at| {
                let id = *name.instances.get(at)?;
                let instance = self.instances.get(id).filter(|instance| has_room(instance))?;
                Some((instance.running.len(), at, id))
            })
            .reduce(|best, other| if other.0 < best.0 { other } else { best });
        let (_, at, chosen) = best?;
        name.turn = (at + 1) % count;
        Some(chosen)
    }

    /// The first of them that was not taken back.
    pub(crate) fn first_on_offer(&self, instances: &[InstanceId]) -> Option<InstanceId> {
        instances.iter().copied().find(|id| self.instances.get(*id).is_some_and(|instance| instance.window > 0))
    }

    /// Calls of a name: in its queue, and being worked on by its instances.
    pub(crate) fn pending(&self, id: NameId) -> u64 {
        let Some(name) = self.names.get(id) else { return 0 };
        let running =
            name.instances.iter().filter_map(|id| self.instances.get(*id)).map(|one| u64::from(one.running.len()));
        u64::from(name.queue.len()) + running.sum::<u64>()
    }

    pub(crate) fn name(&self, id: NameId) -> Option<&Name> {
        self.names.get(id)
    }

    pub(crate) fn name_mut(&mut self, id: NameId) -> Option<&mut Name> {
        self.names.get_mut(id)
    }

    pub(crate) fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    pub(crate) fn instance_mut(&mut self, id: InstanceId) -> Option<&mut Instance> {
        self.instances.get_mut(id)
    }

    /// Names in order, from the one after `after`.
    pub(crate) fn after(&self, after: Option<&ServiceName>) -> impl Iterator<Item = &ServiceName> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name.range::<ServiceName, _>((from, Bound::Unbounded)).map(|(name, _)| name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NameId, &Name)> {
        self.names.iter()
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.instances.iter()
    }
}
