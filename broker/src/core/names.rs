//! Names and the instances behind them.

use std::collections::{BTreeMap, BTreeSet, Bound};

use ipc_protocol::{Fingerprint, MethodName, ServiceName, control};
use serde::{Deserialize, Serialize};

use super::{
    calls::{Calls, Role},
    ids::{CallId, InstanceId, NameId, OfCall, OfInstance, OfName, PeerId},
    list::List,
    table::Table,
};

/// An offered name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) name: ServiceName,
    /// Whether several instances may offer it.
    pub(crate) shared: bool,
    /// Whether all of its instances take calls with streams.
    pub(crate) streams: bool,
    /// Its instances, never empty. The first one takes the next call, if it has room: then none behind it has any either. Those with
    /// the fewest calls come first, and among equals the one whose turn was longest ago. The place of a lone instance is not kept
    /// up to date.
    order: BTreeSet<(Load, InstanceId)>,
    /// The first one in that order.
    first: Option<InstanceId>,
    /// The number of turns so far.
    turns: u64,
    /// Calls that wait for an instance with room.
    pub(crate) queue: List<OfCall>,
    /// The number of calls running at its instances.
    running: u32,
    /// Calls delivered since the name appeared.
    pub(crate) delivered: u64,
}

/// The place of an instance in the order of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Load {
    /// Whether its window is full, or it was passed over since it last read.
    blocked: bool,
    calls: u32,
    turn: u64,
}

/// One registration of a peer: a name or none, and a window.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) peer: PeerId,
    pub(crate) name: Option<NameId>,
    /// The number of calls that it takes at once; 0 once it is retired.
    pub(crate) window: u32,
    /// Calls delivered to it that it has not answered.
    pub(crate) running: List<OfCall>,
    /// Calls to `@N` that wait for room.
    pub(crate) direct: List<OfCall>,
    pub(crate) methods: Vec<MethodName>,
    pub(crate) description: Option<Fingerprint>,
    /// Whether it takes calls with streams.
    pub(crate) streams: bool,
    /// Bytes charged to its peer's user for it.
    pub(crate) charge: usize,
    /// Its place in the order of its name.
    load: Load,
    /// Its last turn.
    turn: u64,
    /// Whether a call was not given to it although its window had room, because its peer does not read.
    passed_over: bool,
}

/// The place that a call goes to: any instance of a name, or a certain instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Name(NameId),
    Instance(InstanceId),
}

/// What an instance that has answered a call is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// For calls that wait for it, if it has room.
    ForNext,
    /// To be removed: it was retired, and that was its last call.
    ToGo,
    /// For nothing: no call waits.
    ForNothing,
}

/// All names and instances.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Names {
    by_name: BTreeMap<ServiceName, NameId>,
    names: Table<OfName, Name>,
    instances: Table<OfInstance, Instance>,
    /// Grows whenever a name appears or goes, because targets may then resolve differently.
    epoch: u64,
}

impl Instance {
    /// The instance that a peer asks for, without its name yet.
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
            description: request.description,
            streams: request.streams,
            charge: ROWS + name + methods,
            load: Load::default(),
            turn: 0,
            passed_over: false,
        }
    }

    fn load(&self) -> Load {
        let calls = self.running.len();
        Load { blocked: calls >= self.window || self.passed_over, calls, turn: self.turn }
    }

    /// Whether it was retired and has answered everything.
    pub(crate) fn is_done(&self) -> bool {
        self.window == 0 && self.running.is_empty()
    }
}

impl Name {
    /// Moves an instance to its place in the order, unless it is alone.
    #[inline]
    fn reorder(&mut self, id: InstanceId, instance: &mut Instance) {
        if self.order.len() > 1 {
            self.order.remove(&(instance.load, id));
            instance.load = instance.load();
            self.order.insert((instance.load, id));
            self.note_first();
        }
    }

    fn note_first(&mut self) {
        self.first = self.order.first().map(|(_, id)| *id);
    }

    /// The number of its calls, queued and running.
    pub(crate) fn pending(&self) -> u64 {
        u64::from(self.queue.len()) + u64::from(self.running)
    }

    /// Its instances in order.
    pub(crate) fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.order.iter().map(|(_, id)| *id)
    }
}

impl Names {
    pub(crate) fn new() -> Self {
        Self { by_name: BTreeMap::new(), names: Table::new(), instances: Table::new(), epoch: 0 }
    }

    /// The name with these bytes.
    pub(crate) fn find(&self, name: &[u8]) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// Adds an instance, with a name or without one. The caller has checked that the name is free.
    pub(crate) fn register(&mut self, name: Option<&ServiceName>, shared: bool, instance: Instance) -> InstanceId {
        let streams = instance.streams;
        let id = self.instances.insert(instance);
        if let Some(name) = name {
            let name_id = self.by_name.get(name).copied().unwrap_or_else(|| self.add_name(name, shared, streams));
            self.enlist(name_id, id);
        }
        id
    }

    fn add_name(&mut self, name: &ServiceName, shared: bool, streams: bool) -> NameId {
        self.epoch += 1;
        let id = self.names.insert(Name {
            name: name.clone(),
            shared,
            streams,
            order: BTreeSet::new(),
            first: None,
            turns: 0,
            queue: List::default(),
            running: 0,
            delivered: 0,
        });
        self.by_name.insert(name.clone(), id);
        id
    }

    fn enlist(&mut self, name_id: NameId, id: InstanceId) {
        let lone = self.names.get(name_id).and_then(|name| name.order.first().map(|(_, id)| *id));
        if let (Some(name), Some(instance)) = (self.names.get_mut(name_id), self.instances.get_mut(id)) {
            name.turns += 1;
            instance.turn = name.turns;
            instance.load = instance.load();
            instance.name = Some(name_id);
            name.order.insert((instance.load, id));
            name.note_first();
        }
        if let Some(lone) = lone
            && let Some(instance) = self.instances.get_mut(lone)
            && let Some(name) = self.names.get_mut(name_id)
        {
            name.reorder(lone, instance);
        }
    }

    /// Removes an instance from its name. It receives no further calls, and may answer those it has. Returns the name, with its
    /// queue, if this was the last instance.
    pub(crate) fn retire(&mut self, id: InstanceId) -> Option<Name> {
        let instance = self.instances.get_mut(id)?;
        instance.window = 0;
        let name_id = instance.name.take()?;
        let name = self.names.get_mut(name_id)?;
        name.order.remove(&(instance.load, id));
        name.note_first();
        name.running -= instance.running.len();
        if !name.order.is_empty() {
            return None;
        }
        let name = self.names.remove(name_id)?;
        self.by_name.remove(&name.name);
        self.epoch += 1;
        Some(name)
    }

    /// Removes an instance that was retired.
    pub(crate) fn remove(&mut self, id: InstanceId) -> Option<Instance> {
        self.instances.remove(id)
    }

    /// The number of a name's calls, and the instance that takes the next one, among those with room by `has_room`. `None` while older
    /// calls wait, because they come first.
    #[inline]
    pub(crate) fn choose(&mut self, id: NameId, has_room: impl Fn(&Instance) -> bool) -> (u64, Option<InstanceId>) {
        let Some(name) = self.names.get(id) else { return (0, None) };
        let pending = name.pending();
        let Some(first) = name.first.filter(|_| name.queue.is_empty()) else { return (pending, None) };
        let is_free = self.instances.get(first).is_some_and(&has_room);
        (pending, if is_free { Some(first) } else { self.choose_other(id, has_room) })
    }

    /// Passes over instances whose peers do not read. Each goes to the end of the order until [`Names::reads_again`], so that no call
    /// walks over it a second time.
    #[cold]
    fn choose_other(&mut self, name: NameId, has_room: impl Fn(&Instance) -> bool) -> Option<InstanceId> {
        let name = self.names.get_mut(name).filter(|name| name.order.len() > 1)?;
        loop {
            let first = name.first?;
            let instance = self.instances.get_mut(first)?;
            if has_room(instance) {
                return Some(first);
            }
            if instance.load.blocked {
                return None; // and so is every one behind it
            }
            instance.passed_over = true;
            name.reorder(first, instance);
        }
    }

    /// Puts an instance back into its place, because its peer reads again.
    pub(crate) fn reads_again(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        instance.passed_over = false;
        if let Some(name) = instance.name.and_then(|name| self.names.get_mut(name)) {
            name.reorder(id, instance);
        }
    }

    /// Counts a call that an instance receives. Returns the instance's peer.
    #[inline]
    pub(crate) fn begin<F>(&mut self, calls: &mut Calls<F>, id: InstanceId, call: CallId) -> Option<PeerId> {
        let instance = self.instances.get_mut(id)?;
        calls.push(&mut instance.running, Role::Place, call);
        if let Some(name) = instance.name.and_then(|name| self.names.get_mut(name)) {
            name.running += 1;
            name.delivered += 1;
            name.turns += 1;
            instance.turn = name.turns;
            name.reorder(id, instance);
        }
        Some(instance.peer)
    }

    /// Counts a call that an instance has answered.
    #[inline]
    pub(crate) fn end<F>(&mut self, calls: &mut Calls<F>, id: InstanceId, call: CallId) -> Ready {
        let Some(instance) = self.instances.get_mut(id) else { return Ready::ForNothing };
        calls.unlink(&mut instance.running, Role::Place, call);
        let mut waiting = !instance.direct.is_empty();
        if let Some(name) = instance.name.and_then(|name| self.names.get_mut(name)) {
            name.running -= 1;
            name.reorder(id, instance);
            waiting |= !name.queue.is_empty();
        }
        match waiting {
            _ if instance.is_done() => Ready::ToGo,
            true => Ready::ForNext,
            false => Ready::ForNothing,
        }
    }

    /// The first of the instances that was not taken back.
    pub(crate) fn first_on_offer(&self, instances: &[InstanceId]) -> Option<InstanceId> {
        instances.iter().copied().find(|id| self.instances.get(*id).is_some_and(|instance| instance.window > 0))
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.names.is_roomy() || self.instances.is_roomy()
    }

    /// Gives back memory of names and instances that are gone.
    pub(crate) fn give_back(&mut self) {
        self.names.give_back();
        self.instances.give_back();
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
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

    /// Names in order that start with `prefix`, from the one after `after`.
    pub(crate) fn after<'a>(
        &'a self,
        after: Option<&ServiceName>,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a ServiceName> {
        let after = after.map(|name| name.as_str().as_bytes()).filter(|after| *after >= prefix.as_bytes());
        let from = after.map_or(Bound::Included(prefix.as_bytes()), Bound::Excluded);
        let found = self.by_name.range::<[u8], _>((from, Bound::Unbounded)).map(|(name, _)| name);
        found.take_while(move |name| name.as_str().starts_with(prefix))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NameId, &Name)> {
        self.names.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.instances.iter()
    }

    /// Checks a name against its instances. For the invariants.
    ///
    /// # Panics
    /// If they do not refer to each other, or the name counts or orders them wrongly.
    pub(crate) fn assert_name(&self, id: NameId, name: &Name) {
        assert!(!name.order.is_empty(), "name {id:?} has no instance");
        assert_eq!(self.find(name.name.as_str().as_bytes()), Some(id), "{} is not found", name.name);
        let mut running = 0;
        for (load, instance_id) in &name.order {
            let instance = self.instances.get(*instance_id).expect("a name has instances that exist");
            assert_eq!(instance.name, Some(id), "an instance of {} knows nothing of it", name.name);
            running += instance.running.len();
            assert!(
                name.order.len() == 1 || *load == instance.load(),
                "{instance_id:?} of {} is out of order",
                name.name
            );
        }
        assert_eq!(name.first, name.instances().next(), "the next instance of {}", name.name);
        assert_eq!(name.running, running, "calls that the instances of {} work on", name.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        calls::{Caller, Stage},
        ids::Id,
        moment::Moment,
    };

    fn names_with(count: usize) -> (Names, NameId, Vec<InstanceId>) {
        let (mut names, name) = (Names::new(), ServiceName::parse("pool").unwrap());
        let request = || control::Register {
            streams: false,
            name: Some(name.clone()),
            window: 8,
            shared: true,
            methods: Vec::new(),
            description: None,
        };
        let peer = Id::from_bits(1 << 32).unwrap();
        let ids: Vec<_> =
            (0..count).map(|_| names.register(Some(&name), true, Instance::new(peer, request()))).collect();
        let id = names.find(b"pool").unwrap();
        (names, id, ids)
    }

    #[test]
    fn equal_instances_take_turns() {
        let (mut names, name, ids) = names_with(3);
        let (mut calls, account) = (Calls::<ipc_protocol::NoFd>::new(), Id::from_bits(1 << 32).unwrap());
        let turns: Vec<_> = (0..6)
            .map(|_| {
                let chosen = names.choose(name, |_| true).1.unwrap();
                let call = calls.open(Caller::OneWay, Stage::Running(chosen), Moment(9_000), account);
                names.begin(&mut calls, chosen, call);
                names.end(&mut calls, chosen, call);
                chosen
            })
            .collect();
        assert_eq!(turns, [&ids[..], &ids[..]].concat());
    }

    #[test]
    fn an_instance_without_room_is_passed_over() {
        let (mut names, name, ids) = names_with(2);
        let stuck = names.instance(ids[0]).unwrap().turn;
        assert_eq!(names.choose(name, |instance| instance.turn != stuck).1, Some(ids[1]));
        assert_eq!(names.choose(name, |_| false).1, None);
    }

    #[test]
    fn an_instance_that_reads_again_has_its_turn_back() {
        let (mut names, name, ids) = names_with(2);
        assert_eq!(names.choose(name, |_| false).1, None);
        ids.iter().rev().for_each(|id| names.reads_again(*id));
        names.assert_name(name, names.name(name).unwrap());
        assert_eq!(names.choose(name, |_| true).1, Some(ids[0]));
    }

    /// It would take hours if each call looked at every instance.
    #[test]
    fn a_call_costs_the_same_however_many_instances_have_no_room() {
        let (mut names, name, ids) = names_with(100_000);
        assert!((0..1_000_000).all(|_| names.choose(name, |_| false).1.is_none()));
        ids.iter().for_each(|id| _ = names.retire(*id));
        assert_eq!(names.find(b"pool"), None);
    }

    #[test]
    fn the_epoch_grows_when_a_name_comes_or_goes() {
        let (mut names, _, ids) = names_with(2);
        let before = names.epoch();
        assert!(names.retire(ids[0]).is_none());
        assert_eq!(names.epoch(), before, "the name is still there");
        assert!(names.retire(ids[1]).is_some());
        assert!(names.epoch() > before);
    }
}
