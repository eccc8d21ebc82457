//! The broker's own service `ipc`: ordinary calls with JSON bodies (docs/protocol.md, "The service ipc").

use std::collections::BTreeSet;

use ipc_protocol::{
    Call, Encoding, Message, PeerNumber, Reply, ServiceName,
    control::{self, Empty, LimitRow, Names, PeerPage, PeerRow, Shown, StatRow, Stats},
    json,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    calls::{Caller, Stage, Watching},
    limits::{self, Bounded},
    moment::Moment,
    names::InstanceId,
    peers::Peer,
    refusal::Refusal,
    router::{Origin, Outputs, Router},
    watches,
};

impl Router {
    /// Answers a call of the broker's own service.
    pub(super) fn control(
        &mut self,
        now: Moment,
        origin: Origin,
        call: &Call,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let caller = origin.caller.clone();
        let answer = match call.routing.method() {
            b"register" => return self.control_register(now, &caller, call, out),
            b"wait" => return self.control_wait(now, origin, call, out),
            b"unregister" => {
                let request: control::Unregister = parse(call)?;
                let Caller::Peer { peer, .. } = caller else { return Err(needs_connection()) };
                self.unregister(peer, request.name.as_ref(), out)?;
                encode(&Empty {})
            }
            b"ping" | b"" => encode(&parse::<Empty>(call)?),
            b"list" => encode(&self.list(&parse(call)?)),
            b"show" => encode(&self.show(&parse(call)?)?),
            b"peers" => encode(&self.page_of_peers(now, &parse(call)?)),
            b"stats" => encode(&self.stats()),
            b"limits" => encode(&self.limit_rows()),
            other => return Err(Refusal::NoMethod(other.escape_ascii().to_string())),
        };
        self.send_to_caller(&caller, |id| reply_with(id, answer), out);
        Ok(())
    }

    fn control_register(
        &mut self,
        now: Moment,
        caller: &Caller,
        call: &Call,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let request = parse(call)?;
        let Caller::Peer { peer, id } = *caller else { return Err(needs_connection()) };
        self.register(now, (peer, id), request, out)
    }

    fn control_wait(&mut self, now: Moment, origin: Origin, call: &Call, out: &mut Outputs) -> Result<(), Refusal> {
        let wait: control::Wait = parse(call)?;
        if self.is_so(&wait) {
            self.send_to_caller(&origin.caller, |id| reply(id, &Empty {}), out);
            return Ok(());
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        self.has_place_for_caller(&origin)?;
        let limit = self.limits.calls_per_service;
        if self.watches.count(&wait) as u64 >= limit {
            return Err(Refusal::ServiceBusy(format!("waiting for {}", wait.name), limit));
        }
        if matches!(origin.caller, Caller::OneWay) {
            return Ok(()); // nobody would hear of it
        }
        self.charge_waiting(origin.uid, watches::charge_of(&wait))?;
        let deadline = now.after(self.limits.timeout(call.timeout_ms));
        let watching = Watching { wait: wait.clone(), payer: origin.uid };
        let id = self.open(origin.caller, Stage::Watching(Box::new(watching)), deadline);
        self.watches.add(id, &wait);
        Ok(())
    }

    fn list(&self, request: &control::List) -> Names {
        let wanted =
            |name: &&ServiceName| request.pattern.as_ref().is_none_or(|pattern| pattern.matches(name.as_str()));
        let mut found = self.names.after(request.after.as_ref()).filter(wanted);
        let names: Vec<ServiceName> = found.by_ref().take(PAGE).cloned().collect();
        let next = found.next().and(names.last()).cloned();
        Names { names, next }
    }

    fn show(&self, request: &control::Show) -> Result<Shown, Refusal> {
        let id = self.names.find(request.name.as_str().as_bytes());
        let row = id.and_then(|id| self.names.name(id));
        let row = row.ok_or_else(|| Refusal::NoService(request.name.to_string()))?;
        let methods: BTreeSet<_> = row
            .instances
            .iter()
            .take(PAGE)
            .filter_map(|id| self.names.instance(*id))
            .flat_map(|one| one.methods.iter().cloned())
            .collect();
        Ok(Shown {
            name: row.name.clone(),
            shared: row.shared,
            methods: methods.into_iter().collect(),
            queued: row.queue.len(),
            calls: row.delivered,
            instances: row.instances.iter().take(PAGE).filter_map(|id| self.show_instance(*id)).collect(),
        })
    }

    fn show_instance(&self, id: InstanceId) -> Option<control::Instance> {
        let instance = self.names.instance(id)?;
        let peer = self.peers.get(instance.peer)?;
        Some(control::Instance {
            peer: peer.number,
            uid: peer.identity.uid,
            pid: peer.identity.pid,
            agent: peer.agent.clone(),
            window: instance.window,
            in_flight: instance.running.len(),
        })
    }

    fn page_of_peers(&self, now: Moment, request: &control::Peers) -> PeerPage {
        let mut found = self.peers.after(request.after.unwrap_or(PeerNumber(0)));
        let peers: Vec<PeerRow> = found.by_ref().take(PAGE).map(|peer| self.peer_row(now, peer)).collect();
        let next = found.next().and(peers.last()).map(|row| row.peer);
        PeerPage { peers, next }
    }

    fn peer_row(&self, now: Moment, peer: &Peer) -> PeerRow {
        let instances = || peer.instances.iter().filter_map(|id| self.names.instance(*id));
        let names = instances().filter_map(|one| one.name).filter_map(|id| self.names.name(id));
        PeerRow {
            peer: peer.number,
            uid: peer.identity.uid,
            gid: peer.identity.gid,
            pid: peer.identity.pid,
            agent: peer.agent.clone(),
            names: names.take(NAMES).map(|name| name.name.clone()).collect(),
            pending: peer.pending.len(),
            in_flight: instances().map(|one| one.running.len()).sum(),
            unread_bytes: peer.unread as u64,
            connected_ms: u64::try_from(now.since(peer.connected).as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn stats(&self) -> Stats {
        let gauge = |name: &str, value: usize, unit: &str| StatRow {
            name: name.into(),
            value: value as u64,
            unit: unit.into(),
        };
        let mut stats = vec![
            gauge("connections", self.peers.len(), "connections"),
            gauge("names", self.names.iter().count(), "names"),
            gauge("calls_pending", self.calls.len(), "calls"),
        ];
        stats.push(StatRow { name: "bytes_held".into(), value: self.accounts.total().bytes, unit: "bytes".into() });
        stats.extend(self.counters.rows());
        Stats { stats }
    }

    fn limit_rows(&self) -> control::Limits {
        let row = |row: limits::Row| {
            let (used, peak) = self.use_of(row.bounded);
            LimitRow { name: row.name.to_owned(), value: row.value, unit: row.unit.to_owned(), used, peak }
        };
        control::Limits { limits: self.limits.rows().map(row).collect() }
    }

    /// How much is used of what a limit bounds, and was at most. For a limit per peer, name or user: by the one that uses most.
    fn use_of(&self, bounded: Bounded) -> (Option<u64>, Option<u64>) {
        let (total, peak) = (self.accounts.total(), self.accounts.peak());
        let (per_uid, per_uid_peak) = self.accounts.per_uid();
        let most_of_peers = |value: fn(&Peer) -> u64| self.peers.iter().map(|(_, peer)| value(peer)).max().or(Some(0));
        match bounded {
            Bounded::OneFrame => (None, None),
            Bounded::Connections => (Some(total.connections), Some(peak.connections)),
            Bounded::ConnectionsOfOneUser => (Some(per_uid.connections), Some(per_uid_peak.connections)),
            Bounded::Bytes => (Some(total.bytes), Some(peak.bytes)),
            Bounded::BytesOfOneUser => (Some(per_uid.bytes), Some(per_uid_peak.bytes)),
            Bounded::UnreadOfOnePeer => (most_of_peers(|peer| peer.unread as u64), None),
            Bounded::CallsOfOneCaller => (most_of_peers(|peer| peer.pending.len().into()), None),
            Bounded::CallsOfOneName => {
                (self.names.iter().map(|(id, _)| self.names.pending(id)).max().or(Some(0)), None)
            }
            Bounded::NamesOfOnePeer => (most_of_peers(|peer| peer.instances.len() as u64), None),
        }
    }
}

/// A successful answer of the broker's own service.
pub(super) fn reply<T: Serialize>(id: u64, value: &T) -> Message {
    reply_with(id, encode(value))
}

fn reply_with(id: u64, body: Vec<u8>) -> Message {
    Message::Reply(Reply { id, encoding: Encoding::JSON, body: body.into() })
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    json::encode(value).expect("pages are bounded, and their types are plain structs")
}

fn parse<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    match call.encoding {
        Encoding::JSON | Encoding::BYTES => {
            json::decode_object(&call.body).map_err(|error| Refusal::Invalid(error.to_string()))
        }
        _ => Err(Refusal::NotJson),
    }
}

fn needs_connection() -> Refusal {
    Refusal::Invalid("a name is offered by a connection: it cannot be done by datagram, or one-way".to_owned())
}

/// Rows of a page. The longest ones are 32 peers with 64 names of 255 bytes, or 32 instances with 4,096 bytes of methods: both fit a
/// body with room to spare.
const PAGE: usize = 32;
/// Names told of one peer: as many as it may have, unless the limit was raised.
const NAMES: usize = 64;
