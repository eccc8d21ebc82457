//! The broker's own service `ipc`: ordinary calls with JSON bodies (docs/protocol.md, "The service ipc").

use std::collections::BTreeSet;

use ipc_protocol::{
    Encoding, MethodName, Pattern, PeerNumber, ServiceName,
    control::{
        self, Empty, LimitRow, LockShown, Names, PeerPage, PeerRow, Shown, StatRow, Stats,
        operation::{self, Operation},
    },
    wire::{Call, Message, Reply},
};

use super::{
    answer::{encode, parse, reply},
    calls::{Caller, Stage},
    footprint,
    ids::InstanceId,
    limits,
    moment::Moment,
    output::Outputs,
    peers::Peer,
    publishing,
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
            operation::Unlock::NAME => return self.unlock(&origin, &parse::<control::Unlock, F>(call)?.name, out),
            operation::Ping::NAME | "" => encode(&parse::<Empty, F>(call)?),
            operation::List::NAME => encode(&self.list(&parse(call)?)),
            operation::Show::NAME => encode(&self.show(&parse(call)?)?),
            operation::Peers::NAME => encode(&self.page_of_peers(origin.came, &parse(call)?)),
            operation::Stats::NAME => encode(&self.stats()),
            operation::Unsubscribe::NAME => {
                let request: control::Unsubscribe = parse(call)?;
                let Caller::Peer { peer, .. } = origin.caller else { return Err(publishing::needs_connection()) };
                self.unsubscribe(peer, request.subscription)?;
                encode(&Empty {})
            }
            operation::Topics::NAME => encode(&self.topic_page(origin.came, &parse(call)?)),
            operation::Limits::NAME => encode(&self.limit_rows(origin.came)),
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
        let pattern = request.pattern.as_ref();
        let prefix = pattern.map_or("", Pattern::prefix);
        let mut looked_at = self.names.after(request.after.as_ref(), prefix);
        let (mut names, mut last) = (Vec::new(), None);
        for name in looked_at.by_ref().take(LOOKS) {
            if pattern.is_none_or(|pattern| pattern.matches(name.as_str())) {
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
        let lock = self.show_lock(&request.name, PAGE_BYTES);
        let id = self.names.find(request.name.as_str().as_bytes());
        let Some(row) = id.and_then(|id| self.names.name(id)) else {
            let lock = lock.ok_or_else(|| Refusal::NoService(request.name.to_string()))?;
            return Ok(only_lock(request.name.clone(), lock));
        };
        let (mut instances, mut methods, mut room) = (Vec::new(), BTreeSet::new(), PAGE_BYTES);
        for id in row.instances().take(PAGE) {
            let Some((instance, its)) = self.show_instance(id) else { continue };
            let more = its.iter().filter(|method| !methods.contains(*method)).map(|method| method.as_str().len() + 3);
            let bytes = ROW + quoted(&instance.agent) + more.sum::<usize>();
            if bytes > room && !instances.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            methods.extend(its.iter().cloned());
            instances.push(instance);
        }
        instances.sort_by_key(|instance| instance.peer);
        Ok(Shown {
            lock,
            name: row.name.clone(),
            shared: row.shared,
            methods: methods.into_iter().collect(),
            queued: row.queue.len(),
            calls: row.delivered,
            instances,
        })
    }

    fn show_instance(&self, id: InstanceId) -> Option<(control::Instance, &[MethodName])> {
        let instance = self.names.instance(id)?;
        let peer = self.post.peers.get(instance.peer)?;
        let shown = control::Instance {
            peer: peer.number,
            uid: peer.identity.uid,
            pid: peer.identity.pid,
            agent: peer.agent.clone(),
            window: instance.window,
            in_flight: instance.running.len(),
            description: instance.description,
        };
        Some((shown, &instance.methods))
    }

    fn page_of_peers(&self, now: Moment, request: &control::Peers) -> PeerPage {
        let (mut peers, mut room) = (Vec::new(), PAGE_BYTES);
        for peer in self.post.peers.after(request.after.unwrap_or(PeerNumber(0))) {
            let row = self.peer_row(now, peer);
            let names = row.names.iter().map(|name| name.as_str().len() + 3);
            let bytes = ROW + quoted(&row.agent) + names.sum::<usize>();
            if peers.len() == PAGE || bytes > room && !peers.is_empty() {
                let next = peers.last().map(|row: &PeerRow| row.peer);
                return PeerPage { peers, next };
            }
            room = room.saturating_sub(bytes);
            peers.push(row);
        }
        PeerPage { peers, next: None }
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
            gauge("locks", self.locks.len(), "locks"),
            gauge("subscriptions", self.subscriptions.len(), "subscriptions"),
            gauge("events_kept", self.retained.len(), "events"),
        ];
        stats.push(StatRow {
            name: "bytes_held".into(),
            value: self.post.accounts.total().bytes,
            unit: "bytes".into(),
        });
        stats.push(StatRow {
            name: "bytes_worst".into(),
            value: footprint::of_all(&self.post.limits),
            unit: "bytes".into(),
        });
        stats.extend(self.post.counters.rows());
        Stats { stats }
    }

    fn limit_rows(&mut self, now: Moment) -> control::Limits {
        self.uses.count(now, &self.post, &self.names, self.retained.sums());
        let row = |row: limits::Row| {
            let (used, peak) = self.uses.of(row.bounded, &self.post);
            let worst = footprint::of(row.bounded, row.value, &self.post.limits);
            LimitRow { name: row.name.to_owned(), value: row.value, unit: row.unit.to_owned(), used, peak, worst }
        };
        control::Limits { limits: self.post.limits.rows().map(row).collect() }
    }
}

/// A name that no process offers, and that is a lock's.
fn only_lock(name: ServiceName, lock: LockShown) -> Shown {
    let (methods, instances) = (Vec::new(), Vec::new());
    Shown { name, shared: false, methods, queued: 0, calls: 0, instances, lock: Some(lock) }
}

/// The most bytes of a text in JSON: a control character becomes six.
fn quoted(text: &str) -> usize {
    6 * text.len()
}

/// The number of rows on a page.
const PAGE: usize = 32;
/// Bytes of a page, about. A page of long rows has fewer of them, so that a short request has no long answer; the longest row, a peer
/// with 64 names of 255 bytes, has 18 KiB.
const PAGE_BYTES: usize = 64 * 1024;
/// Bytes of a row's numbers and of the names of its members.
const ROW: usize = 256;
/// The number of names examined for one page, however few of them a pattern matches: about as many as a page shows.
const LOOKS: usize = 128;
/// The number of names shown of one peer: all that it may have, unless the limit was raised.
const NAMES: usize = 64;
