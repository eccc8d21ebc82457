//! A small world: two callers, two services, and the inputs that they give to the router.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use ipc_protocol::{ErrorCode, control};
use ipcd::core::Limits;

use crate::{
    A, B, S, T, canon,
    world::{Delivered, OWNER, Peer, Request, Ticket, World, registration},
};

/// What can happen. A number is the place of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Call(usize, &'static str),
    OneWay(usize, &'static str),
    /// A call to the number of the first service.
    Direct(usize),
    /// A call of `ipc.wait` for the name of the first service to go.
    Wait(usize),
    /// A service answers its oldest call.
    Reply(usize),
    /// A service answers its oldest call with an error.
    Fail(usize),
    /// A service answers the call again that it has answered last.
    Again(usize),
    /// A caller cancels its oldest call.
    Cancel(usize),
    /// A peer connects and says hello; a service registers, too.
    Arrive(usize),
    Close(usize),
    EndSending(usize),
    Register(usize),
    Unregister(usize),
    /// A peer stops reading.
    Pause(usize),
    /// A peer reads everything: its socket is written.
    Resume(usize),
    /// Half of the time passes that a call has.
    Pass,
    Drain,
}

/// The world, and what its peers know.
pub(crate) struct Small {
    world: World,
    /// Whether the services share one name.
    shared: bool,
    peers: [Option<Peer>; 4],
    /// Calls that a peer waits for, oldest first.
    made: [Vec<Ticket>; 4],
    /// Calls that a peer has received and not answered, oldest first.
    received: [VecDeque<Delivered>; 4],
    /// The call that a peer has answered last.
    answered: [Option<Delivered>; 4],
    paused: [bool; 4],
    draining: bool,
    path: Vec<Step>,
}

impl Small {
    /// Two callers, and two services of a name each.
    pub(crate) fn with_two_services() -> Self {
        Self::new(false)
    }

    /// Two callers, and two services of the same name.
    pub(crate) fn with_a_shared_name() -> Self {
        Self::new(true)
    }

    fn new(shared: bool) -> Self {
        let mut small = Self {
            world: World::with_limits(limits),
            shared,
            peers: [None; 4],
            made: Default::default(),
            received: Default::default(),
            answered: Default::default(),
            paused: [false; 4],
            draining: false,
            path: Vec::new(),
        };
        small.world.leave_out_marks();
        [A, B, S, T].into_iter().for_each(|at| small.arrive(at));
        small
    }

    /// The router's state, to fork from.
    pub(crate) fn state(&self) -> String {
        self.world.state()
    }

    /// A second world in the same state.
    pub(crate) fn fork(&self, state: &str) -> Self {
        Self {
            world: self.world.fork(state),
            made: self.made.clone(),
            received: self.received.clone(),
            answered: self.answered.clone(),
            path: self.path.clone(),
            ..*self
        }
    }

    /// The steps that led here.
    pub(crate) fn path(&self) -> &[Step] {
        &self.path
    }

    /// Whether the step makes sense in this state.
    pub(crate) fn can(&self, step: Step) -> bool {
        match step {
            Step::Call(at, _) | Step::OneWay(at, _) | Step::Wait(at) => self.is_ready(at),
            Step::Direct(at) => self.is_ready(at) && self.peers[S].is_some(),
            Step::Reply(at) | Step::Fail(at) => self.is_ready(at) && !self.received[at].is_empty(),
            Step::Again(at) => self.is_ready(at) && self.answered[at].is_some(),
            Step::Cancel(at) => self.is_ready(at) && self.oldest(at).is_some(),
            Step::Close(at) => self.peers[at].is_some(),
            Step::EndSending(at) | Step::Register(at) | Step::Unregister(at) => self.is_ready(at),
            Step::Arrive(at) => self.peers[at].is_none() && !self.draining,
            Step::Pause(at) => self.is_ready(at) && !self.paused[at],
            Step::Resume(at) => self.peers[at].is_some() && self.paused[at],
            Step::Pass => true,
            Step::Drain => !self.draining,
        }
    }

    pub(crate) fn take(&mut self, step: Step) {
        self.path.push(step);
        match step {
            Step::Call(at, name) => self.make(at, Request::to(name, "")),
            Step::OneWay(at, name) => {
                self.make(at, Request::to(name, "").one_way());
                self.made[at].pop(); // nothing tells it how that ends
            }
            Step::Direct(at) => self.make(at, Request::to(&self.world.address(self.peer(S)), "")),
            Step::Wait(at) => {
                let wait = control::Wait { name: name(S, self.shared).parse().unwrap(), gone: true, target: false };
                self.make(at, Request::ipc("wait", &wait));
            }
            Step::Reply(at) => {
                let delivered = self.next(at);
                self.world.reply(&delivered, b"!");
            }
            Step::Fail(at) => {
                let delivered = self.next(at);
                self.world.fail(&delivered, ErrorCode::APP_ERROR);
            }
            Step::Again(at) => {
                let delivered = self.answered[at].clone().expect("it has answered");
                self.world.reply(&delivered, b"?");
            }
            Step::Cancel(at) => self.world.cancel(self.oldest(at).expect("it has a call")),
            Step::Arrive(at) => self.arrive(at),
            Step::Close(at) => self.world.disconnect(self.peer(at)),
            Step::EndSending(at) => self.world.end_sending(self.peer(at)),
            Step::Register(at) => self.register(at),
            Step::Unregister(at) => drop(self.world.unregister(self.peer(at), Some(name(at, self.shared)))),
            Step::Pause(at) => {
                self.paused[at] = true;
                self.world.pause_reading(self.peer(at));
            }
            Step::Resume(at) => {
                self.paused[at] = false;
                self.world.resume_reading(self.peer(at));
            }
            Step::Pass => self.world.advance(TIMEOUT / 2),
            Step::Drain => {
                self.draining = true;
                self.world.drain();
            }
        }
        self.look();
    }

    /// The state, with everything left out that makes no difference to what can follow.
    pub(crate) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let peers: Vec<_> = self.peers.iter().flatten().map(|peer| self.world.id(*peer)).collect();
        canon::of(self.world.state_value(), self.world.now(), &peers).to_string().hash(&mut hasher);
        for at in [A, B, S, T] {
            let is_waiting = self.made[at].iter().filter(|ticket| !self.world.has_ended(**ticket)).count();
            (self.is_ready(at), self.peers[at].is_some(), self.paused[at], is_waiting).hash(&mut hasher);
            (self.received[at].len(), self.answered[at].is_some()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Disconnects all, and checks that nothing is left.
    pub(crate) fn end(self) {
        self.world.end();
    }

    fn make(&mut self, at: usize, request: Request) {
        let ticket = self.world.make(self.peer(at), request.within(u32::try_from(TIMEOUT).unwrap()));
        self.made[at].push(ticket);
    }

    fn arrive(&mut self, at: usize) {
        self.peers[at] = Some(self.world.peer(OWNER));
        if at >= S {
            self.register(at);
        }
    }

    fn register(&mut self, at: usize) {
        let request = control::Register { shared: self.shared, ..registration(Some(name(at, self.shared)), 1) };
        self.world.make(self.peer(at), Request::register(&request));
    }

    /// Takes the oldest call that a peer has not answered.
    fn next(&mut self, at: usize) -> Delivered {
        let delivered = self.received[at].pop_front().expect("it has a call");
        self.answered[at] = Some(delivered.clone());
        delivered
    }

    /// Notes what the peers have received, and who is gone.
    fn look(&mut self) {
        for at in [A, B, S, T] {
            let Some(peer) = self.peers[at] else { continue };
            while let Some(delivered) = self.world.take_call(peer) {
                self.received[at].push_back(delivered);
            }
            self.world.clear_inbox(peer);
            self.made[at].retain(|ticket| !self.world.has_ended(*ticket));
            if !self.world.is_open(peer) {
                (self.peers[at], self.answered[at], self.paused[at]) = (None, None, false);
                self.received[at].clear();
                self.made[at].clear();
            }
        }
    }

    /// The oldest call of a peer that has not ended.
    fn oldest(&self, at: usize) -> Option<Ticket> {
        self.made[at].iter().copied().find(|ticket| !self.world.has_ended(*ticket))
    }

    fn is_ready(&self, at: usize) -> bool {
        self.peers[at].is_some_and(|peer| self.world.is_ready(peer))
    }

    fn peer(&self, at: usize) -> Peer {
        self.peers[at].expect("it is connected")
    }
}

/// The name that a service offers.
fn name(at: usize, shared: bool) -> &'static str {
    if at == T && !shared { "t" } else { "s" }
}

/// Milliseconds that a call has.
const TIMEOUT: u64 = 100;

/// Room for one call at a service, and one in its queue.
fn limits(limits: &mut Limits) {
    limits.calls_per_caller = 2;
    limits.calls_per_service = 2;
    limits.names_per_peer = 2;
    limits.stray_replies = 1;
    limits.unread_soft_bytes = 100;
}
