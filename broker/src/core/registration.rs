//! Registration: who offers which name.

use ipc_protocol::{MethodName, ServiceName, control};

use super::{
    moment::Moment,
    names::{Instance, InstanceId},
    peers::PeerId,
    policy::{Operation, Verdict},
    refusal::Refusal,
    router::{Outputs, Router},
    watches,
};

impl Router {
    /// `ipc.register`, asked by a peer in its call `call_id`. The answer leaves before the first call does.
    pub(super) fn register(
        &mut self,
        now: Moment,
        (peer_id, call_id): (PeerId, u64),
        request: control::Register,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let number = self.may_register(peer_id, &request, out)?;
        let (name, shared) = (request.name.clone(), request.shared);
        let instance = Instance::new(peer_id, request);
        let uid = self.peers.get(peer_id).map_or(0, |peer| peer.identity.uid);
        self.charge_waiting(uid, instance.charge)?;
        let id = self.names.register(name.as_ref(), shared, instance);
        if let Some(peer) = self.peers.get_mut(peer_id) {
            peer.instances.push(id);
        }
        self.send(peer_id, super::control::reply(call_id, &control::Registered { peer: number }), out);
        if let Some(name) = &name {
            self.tell_watchers(name, out);
        }
        self.feed(now, id, out);
        Ok(())
    }

    /// `ipc.unregister`: calls that the instance works on may still be answered.
    pub(super) fn unregister(
        &mut self,
        peer_id: PeerId,
        name: Option<&ServiceName>,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let id = self.registration(peer_id, name).ok_or_else(|| {
            Refusal::NoService(
                name.map_or_else(|| "(anonymous)".to_owned(), |name| format!("{name} of this connection")),
            )
        })?;
        self.retire(id, out);
        self.remove_if_idle(id);
        Ok(())
    }

    /// Ends the waiting of those who wait for `name` to come, or to go.
    pub(super) fn tell_watchers(&mut self, name: &ServiceName, out: &mut Outputs) {
        for call in self.watches.satisfied(name, &self.names) {
            self.finish(call, |id| super::control::reply(id, &control::Empty {}), out);
        }
    }

    /// `ipc.wait`, when what is waited for is not so yet.
    pub(super) fn is_so(&self, wait: &control::Wait) -> bool {
        watches::is_satisfied(wait, &self.names)
    }

    fn may_register(
        &mut self,
        peer_id: PeerId,
        request: &control::Register,
        out: &mut Outputs,
    ) -> Result<ipc_protocol::PeerNumber, Refusal> {
        let Some(peer) = self.peers.get(peer_id) else { return Err(Refusal::Draining) };
        if peer.instances.len() as u64 >= self.limits.names_per_peer {
            return Err(Refusal::TooManyNames(self.limits.names_per_peer));
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        check_methods(&request.methods)?;
        let Some(name) = &request.name else { return Ok(peer.number) };
        if name.is_reserved() {
            return Err(Refusal::ReservedName(name.clone()));
        }
        if self.verdict(&peer.identity, Operation::Own(name.as_str()), out) == Verdict::Denied {
            return Err(Refusal::Denied { uid: peer.identity.uid });
        }
        let Some(held) = self.names.find(name.as_str().as_bytes()).and_then(|id| self.names.name(id)) else {
            return Ok(peer.number);
        };
        if held.shared && request.shared {
            return Ok(peer.number);
        }
        let holder =
            held.instances.first().map_or_else(String::new, |id| self.describe(*id, request.shared, held.shared));
        Err(Refusal::NameTaken { name: name.clone(), holder })
    }

    /// Who holds a name, for the one who wanted it.
    fn describe(&self, id: InstanceId, wants_shared: bool, is_shared: bool) -> String {
        let Some(peer) = self.names.instance(id).and_then(|instance| self.peers.get(instance.peer)) else {
            return "another peer".to_owned();
        };
        let pid = peer.identity.pid.map_or_else(|| "unknown pid".to_owned(), |pid| format!("pid {pid}"));
        let why = match (wants_shared, is_shared) {
            (true, false) => ", which does not share it",
            (false, true) => ", which shares it: register it as shared too",
            _ => "",
        };
        format!("peer {} ({pid}, user {}, {}){why}", peer.number, peer.identity.uid, peer.agent.escape_debug())
    }

    /// The instance that a peer registered under a name, or under none.
    fn registration(&self, peer_id: PeerId, name: Option<&ServiceName>) -> Option<InstanceId> {
        let name = match name {
            None => None,
            Some(name) => Some(self.names.find(name.as_str().as_bytes())?),
        };
        let peer = self.peers.get(peer_id)?;
        let is_it = |id: &&InstanceId| self.names.instance(**id).is_some_and(|one| one.name == name && one.window > 0);
        peer.instances.iter().find(is_it).copied()
    }
}

/// Methods are told to whoever asks, and kept for that alone.
fn check_methods(methods: &[MethodName]) -> Result<(), Refusal> {
    let bytes: usize = methods.iter().map(|method| method.as_str().len() + 1).sum();
    if bytes > METHODS {
        return Err(Refusal::Invalid(format!("methods: {bytes} bytes of names, at most {METHODS} are kept")));
    }
    Ok(())
}

/// Bytes of the names of a registration's methods: `show` tells those of 32 instances, which must fit a body.
const METHODS: usize = 4_096;
