//! The broker's own service `ipc`: ordinary calls with JSON bodies (docs/protocol.md, "The service ipc").

use std::collections::BTreeSet;

use ipc_protocol::{
    Encoding, PeerNumber, ServiceName,
    control::{
        self, Empty, LimitRow, Names, PeerPage, PeerRow, Shown, StatRow, Stats,
        operation::{self, Operation},
    },
    wire::{Call, Message, Reply},
};

use super::{
    accounts::Account,
    answer::{encode, parse, reply},
    calls::{Caller, Stage},
    ids::InstanceId,
    limits::{self, Bounded},
    moment::Moment,
    output::Outputs,
    peers::Peer,
    refusal::Refusal,
    registration::needs_connection,
    switchboard::{Origin, Switchboard},
    watches,
};

impl<F> Switchboard<F> {
    /// Answers a call of the broker's own service, apart from `ipc.register`, whose name has to be authorised first.
    pub(crate) fn control(&mut self, origin: Origin, call: &Call<F>, out: &mut impl Outputs<F>) -> Result<(), Refusal> {
        let answer = match str::from_utf8(call.routing.method()).unwrap_or_default() {
            operation::Wait::NAME => return self.control_wait(origin, call, out),
            operation::Unregister::NAME => {
                let request: control::Unregister = parse(call)?;
                let Caller::Peer { peer, .. } = origin.caller else { return Err(needs_connection()) };
                self.unregister(peer, request.name.as_ref(), out)?;
                encode(&Empty {})
            }
            operation::Ping::NAME | "" => encode(&parse::<Empty, F>(call)?),
            operation::List::NAME => encode(&self.list(&parse(call)?)),
            operation::Show::NAME => encode(&self.show(&parse(call)?)?),
            operation::Peers::NAME => encode(&self.page_of_peers(origin.came, &parse(call)?)),
            operation::Stats::NAME => encode(&self.stats()),
            operation::Limits::NAME => encode(&self.limit_rows()),
            _ => return Err(Refusal::NoMethod(call.routing.method().escape_ascii().to_string())),
        };
        let message = |id| Message::Reply(Reply { id, encoding: Encoding::JSON, body: answer.into() });
        self.send_to_caller(&origin.caller, message, out);
        Ok(())
    }

    fn control_wait(&mut self, origin: Origin, call: &Call<F>, out: &mut impl Outputs<F>) -> Result<(), Refusal> {
        let wait: control::Wait = parse(call)?;
        if self.is_so(&wait) {
            self.send_to_caller(&origin.caller, |id| reply(id, &Empty {}), out);
            return Ok(());
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        self.has_place_for_caller(&origin)?;
        let limit = self.post.limits.calls_per_service;
        if self.watches.count(&wait) as u64 >= limit {
            return Err(Refusal::ServiceBusy(format!("waiting for {}", wait.name), limit));
        }
        if matches!(origin.caller, Caller::OneWay) {
            return Ok(()); // there is no one to send the answer to
        }
        let id = self.open_waiting(origin, Stage::Watching(Box::new(wait.clone())), watches::charge_of(&wait))?;
        self.watches.add(id, &wait);
        Ok(())
    }

    fn list(&self, request: &control::List) -> Names {
        let is_wanted = |name: &ServiceName| request.pattern.as_ref().is_none_or(|p| p.matches(name.as_str()));
        let mut looked_at = self.names.after(request.after.as_ref());
        let (mut names, mut last) = (Vec::new(), None);
        for name in looked_at.by_ref().take(LOOKS) {
            if is_wanted(name) {
                if names.len() == PAGE {
                    return Names { names, next: last };
                }
                names.push(name.clone());
            }
            last = Some(name.clone());
        }
        let next = looked_at.next().and(last);
        Names { names, next }
    }

    fn show(&self, request: &control::Show) -> Result<Shown, Refusal> {
        let id = self.names.find(request.name.as_str().as_bytes());
        let row = id.and_then(|id| self.names.name(id));
        let row = row.ok_or_else(|| Refusal::NoService(request.name.to_string()))?;
        let shown: Vec<_> = row.instances().take(PAGE).collect();
        let methods: BTreeSet<_> = shown
            .iter()
            .filter_map(|id| self.names.instance(*id))
            .flat_map(|one| one.methods.iter().cloned())
            .collect();
        let mut instances: Vec<_> = shown.into_iter().filter_map(|id| self.show_instance(id)).collect();
        instances.sort_by_key(|instance| instance.peer);
        Ok(Shown {
            name: row.name.clone(),
            shared: row.shared,
            methods: methods.into_iter().collect(),
            queued: row.queue.len(),
            calls: row.delivered,
            instances,
        })
    }

    fn show_instance(&self, id: InstanceId) -> Option<control::Instance> {
        let instance = self.names.instance(id)?;
        let peer = self.post.peers.get(instance.peer)?;
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
        let mut found = self.post.peers.after(request.after.unwrap_or(PeerNumber(0)));
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
            gauge("connections", self.post.peers.len(), "connections"),
            gauge("names", self.names.len(), "names"),
            gauge("calls_pending", self.calls.len(), "calls"),
        ];
        stats.push(StatRow {
            name: "bytes_held".into(),
            value: self.post.accounts.total().bytes,
            unit: "bytes".into(),
        });
        stats.extend(self.post.counters.rows());
        Stats { stats }
    }

    fn limit_rows(&self) -> control::Limits {
        let uses = self.uses();
        let row = |row: limits::Row| {
            let (used, peak) = uses.of(row.bounded);
            LimitRow { name: row.name.to_owned(), value: row.value, unit: row.unit.to_owned(), used, peak }
        };
        control::Limits { limits: self.post.limits.rows().map(row).collect() }
    }

    /// The use of all limits, with one pass over the peers and one over the names.
    fn uses(&self) -> Uses {
        let (per_uid, per_uid_peak) = self.post.accounts.per_uid();
        let mut uses = Uses {
            total: self.post.accounts.total(),
            peak: self.post.accounts.peak(),
            per_uid,
            per_uid_peak,
            ..Uses::default()
        };
        for (_, peer) in self.post.peers.iter() {
            uses.unread = uses.unread.max(peer.unread as u64);
            uses.per_caller = uses.per_caller.max(peer.pending.len().into());
            uses.names = uses.names.max(peer.instances.len() as u64);
        }
        uses.per_caller = uses.per_caller.max(per_uid.loose_calls);
        uses.per_service = self.names.iter().map(|(_, name)| name.pending()).max().unwrap_or(0);
        uses
    }
}

/// The use of the limits. For a limit per peer, name or user it is that of the greatest user.
#[derive(Default)]
struct Uses {
    total: Account,
    peak: Account,
    per_uid: Account,
    per_uid_peak: Account,
    unread: u64,
    per_caller: u64,
    per_service: u64,
    names: u64,
}

impl Uses {
    /// The present use of what a limit bounds, and its peak.
    fn of(&self, bounded: Bounded) -> (Option<u64>, Option<u64>) {
        match bounded {
            Bounded::OneFrame => (None, None),
            Bounded::Connections => (Some(self.total.connections), Some(self.peak.connections)),
            Bounded::ConnectionsOfOneUser => (Some(self.per_uid.connections), Some(self.per_uid_peak.connections)),
            Bounded::Bytes => (Some(self.total.bytes), Some(self.peak.bytes)),
            Bounded::BytesOfOneUser => (Some(self.per_uid.bytes), Some(self.per_uid_peak.bytes)),
            Bounded::UnreadOfOnePeer => (Some(self.unread), None),
            Bounded::CallsOfOneCaller => (Some(self.per_caller), None),
            Bounded::CallsOfOneName => (Some(self.per_service), None),
            Bounded::NamesOfOnePeer => (Some(self.names), None),
        }
    }
}

/// The number of rows on a page. The longest pages have 32 peers with 64 names of 255 bytes, or 32 instances with 4,096 bytes of
/// methods. Both fit a body with room to spare.
const PAGE: usize = 32;
/// The number of names examined for one page: about 0.1 ms of work, however few of them a pattern matches.
const LOOKS: usize = 1_024;
/// The number of names shown of one peer: all that it may have, unless the limit was raised.
const NAMES: usize = 64;
