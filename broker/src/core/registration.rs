//! Registration: peers offer names and take them back, and calls that wait for this are answered.

use ipc_protocol::{
    MethodName, PeerNumber, ServiceName,
    control::{self, InstanceEvent, NameEvent},
};

use super::{
    answer,
    calls::Caller,
    ids::{InstanceId, PeerId},
    names::Instance,
    output::Outputs,
    refusal::Refusal,
    switchboard::{Origin, Switchboard},
    watches,
};

impl<F> Switchboard<F> {
    /// Checks whether a peer may register a name, apart from policy. Returns the peer's number.
    pub(crate) fn may_register(&self, peer: PeerId, request: &control::Register) -> Result<PeerNumber, Refusal> {
        let Some(peer) = self.post.peers.get(peer) else { return Err(Refusal::Draining) };
        if peer.instances.len() as u64 >= self.post.limits.names_per_peer {
            return Err(Refusal::TooManyNames(self.post.limits.names_per_peer));
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        check_methods(&request.methods)?;
        let Some(name) = &request.name else { return Ok(peer.number) };
        if name.is_reserved() {
            return Err(Refusal::ReservedName(name.clone()));
        }
        let Some(held) = self.names.find(name.as_str().as_bytes()).and_then(|id| self.names.name(id)) else {
            return Ok(peer.number);
        };
        let why = match (request.shared, held.shared) {
            (true, true) if request.streams == held.streams => return Ok(peer.number),
            (true, true) if held.streams => ", which takes streams: register it with streams too",
            (true, true) => ", which takes no streams: register it without them",
            (true, false) => ", which does not share it",
            (false, true) => ", which shares it: register it as shared too",
            (false, false) => "",
        };
        let holder = held.instances().next();
        let holder = holder.map_or_else(String::new, |id| self.describe(id, why));
        Err(Refusal::NameTaken { name: name.clone(), holder })
    }

    /// `ipc.register`. The answer is sent before the first call.
    pub(crate) fn register(
        &mut self,
        origin: Origin,
        request: control::Register,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Caller::Peer { peer: peer_id, id: call_id } = origin.caller else { return Err(needs_connection()) };
        let peer = self.may_register(peer_id, &request)?;
        let Some((account, _)) = self.post.payer(peer_id) else { return Err(Refusal::Draining) };
        let (name, shared) = (request.name.clone(), request.shared);
        let instance = Instance::new(peer_id, request);
        let offered = self.post.peers.get(peer_id).map_or(0, |peer| peer.instances.len());
        self.post.charge_or_refuse(account, instance.charge, offered)?;
        let is_new = name.as_ref().filter(|name| self.names.find(name.as_str().as_bytes()).is_none()).cloned();
        let id = self.names.register(name.as_ref(), shared, instance);
        if let Some(peer) = self.post.peers.get_mut(peer_id) {
            peer.instances.push(id);
            self.post.peaks.names = self.post.peaks.names.max(peer.instances.len() as u64);
        }
        self.post.send(peer_id, answer::reply(call_id, &control::Registered { peer }), out);
        if let Some(name) = &name {
            self.tell_watchers(name, out);
        }
        if let Some(name) = is_new {
            self.announce("ipc.name.added", || NameEvent { name }, out);
        }
        self.announce("ipc.instance.added", || InstanceEvent { name, peer }, out);
        self.feed(origin.came, id, out);
        Ok(())
    }

    /// `ipc.unregister`. Running calls of the instance may still be answered.
    pub(crate) fn unregister(
        &mut self,
        peer_id: PeerId,
        name: Option<&ServiceName>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let id = self.registration(peer_id, name).ok_or_else(|| Refusal::NotOffered(name.cloned()))?;
        self.take_back(id, out);
        self.remove_if_idle(id);
        Ok(())
    }

    /// Removes an instance from its name, and answers those who wait for the name to go.
    pub(crate) fn take_back(&mut self, id: InstanceId, out: &mut impl Outputs<F>) {
        let gone = self.registered(id);
        let last_of = self.retire(id, out);
        if let Some(gone) = gone {
            self.announce("ipc.instance.removed", || gone, out);
        }
        if let Some(name) = last_of {
            self.tell_watchers(&name, out);
            self.announce("ipc.name.removed", || NameEvent { name }, out);
        }
    }

    /// A registration that is in force, as the broker's own events describe it.
    fn registered(&self, id: InstanceId) -> Option<InstanceEvent> {
        let instance = self.names.instance(id).filter(|instance| instance.window > 0)?;
        let name = instance.name.and_then(|id| self.names.name(id)).map(|name| name.name.clone());
        Some(InstanceEvent { name, peer: self.post.peers.get(instance.peer)?.number })
    }

    /// Answers the calls that wait for `name` to be offered or to go.
    fn tell_watchers(&mut self, name: &ServiceName, out: &mut impl Outputs<F>) {
        for call in self.watches.satisfied(name, &self.names) {
            self.finish(call, |id| answer::reply(id, &control::Empty {}), out);
        }
    }

    /// Whether the condition of an `ipc.wait` is met already.
    pub(crate) fn is_so(&self, wait: &control::Wait) -> bool {
        watches::is_satisfied(wait, &self.names)
    }

    /// Describes the holder of a name to the peer that asked for it.
    fn describe(&self, id: InstanceId, why: &str) -> String {
        let Some(peer) = self.names.instance(id).and_then(|instance| self.post.peers.get(instance.peer)) else {
            return "another peer".to_owned();
        };
        format!("{}{why}", peer.describe())
    }

    /// The instance that a peer registered with a name, or without one.
    fn registration(&self, peer_id: PeerId, name: Option<&ServiceName>) -> Option<InstanceId> {
        let name = match name {
            None => None,
            Some(name) => Some(self.names.find(name.as_str().as_bytes())?),
        };
        let peer = self.post.peers.get(peer_id)?;
        let is_it = |id: &&InstanceId| self.names.instance(**id).is_some_and(|one| one.name == name && one.window > 0);
        peer.instances.iter().find(is_it).copied()
    }
}

/// The refusal of a registration that doesn't come from a connection, which has to last as long as the name.
pub(crate) fn needs_connection() -> Refusal {
    Refusal::Invalid("a name is offered by a connection: it cannot be done by datagram, or one-way".to_owned())
}

/// Limits the names of methods, which are kept only for `ipc.show`.
fn check_methods(methods: &[MethodName]) -> Result<(), Refusal> {
    let bytes: usize = methods.iter().map(|method| method.as_str().len() + 1).sum();
    if bytes > METHODS {
        return Err(Refusal::Invalid(format!("methods: {bytes} bytes of names, at most {METHODS} are kept")));
    }
    Ok(())
}

/// Bytes for the names of a registration's methods: `show` returns those of 32 instances, which must fit a body.
const METHODS: usize = 4_096;
