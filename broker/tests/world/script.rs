//! Narrow walks: a few peers that do nothing but subscribe and publish, or that stream at each other without regard for the rules.

use ipc_protocol::{Call, ErrorCode, Event, Topic, control::Keeping};
use serde_json::json;

use super::{Delivered, Dice, OWNER, Peer, Request, Ticket, World, subscription};

/// Patterns and topics of any text: each event is sent to the subscriptions that a naive comparison finds, and what a subscription
/// loses is told.
///
/// The script is text, a step a line: `+a.*` subscribes, and is the next subscriber's turn; `?a.` also asks for kept events; `-` gives
/// up a subscription; `!a.b` publishes, `=a.b` also keeps; `_a.b` clears; `<` and `>` stop and start the reading.
pub(crate) fn events_given(script: &[u8]) {
    let mut world = World::with_limits(|limits| {
        limits.queue_events = 3;
        limits.unread_soft_bytes = 4_000;
    });
    let publisher = world.peer(OWNER);
    let mut subscribers = [world.peer(OWNER), world.peer(OWNER), world.peer(OWNER)];
    for (line, at) in script.split(|byte| *byte == b'\n').zip(0_u32..) {
        let Some((step, text)) = line.split_first() else { continue };
        let text = String::from_utf8_lossy(text);
        let subscriber = subscribers[0];
        match step {
            b'+' | b'?' => {
                ask_for(&mut world, subscriber, &text, (*step == b'?', at));
                subscribers.rotate_left(1);
            }
            b'-' => {
                if let Some(number) = world.events.of_peer(subscriber).last() {
                    world.make(subscriber, Request::unsubscribe(*number));
                }
            }
            b'!' | b'=' | b'_' if Topic::parse(&text).is_ok() => {
                let body = if *step == b'_' { String::new() } else { at.to_string() };
                let change = |event: &mut Event| (event.retained, event.one_way) = (*step != b'!', at % 2 == 0);
                world.publish_as(publisher, &text, &body, change);
            }
            b'<' => world.pause_reading(subscriber),
            b'>' => world.resume_reading(subscriber),
            _ => {}
        }
    }
    subscribers.into_iter().filter(|peer| world.is_open(*peer)).collect::<Vec<_>>().into_iter().for_each(|peer| {
        world.resume_reading(peer);
    });
    world.end();
}

/// Asks for a subscription. What is no pattern is refused.
fn ask_for(world: &mut World, peer: Peer, pattern: &str, (last, at): (bool, u32)) {
    if !world.is_ready(peer) {
        return;
    }
    if pattern.parse::<ipc_protocol::Pattern>().is_err() {
        let ticket = world.make(peer, Request::ipc("subscribe", &json!({ "pattern": pattern })));
        if world.has_ended(ticket) {
            world.expect_error(ticket, ErrorCode::INVALID);
        }
        return;
    }
    let policy = [Keeping::DropOldest, Keeping::DropNewest, Keeping::Latest][at as usize % 3];
    let request = ipc_protocol::control::Subscribe { policy, last, queue: 1 + at % 4, ..subscription(pattern) };
    world.make(peer, Request::subscribe(&request));
}

/// Items, ends and credit in any order, of both sides of a call and of one who has nothing to do with it: each arrives in its order or
/// ends the call, and the numbers of delivered items are right.
pub(crate) fn streams_given(choices: &[u8]) {
    let world = World::with_limits(|limits| {
        limits.body_bytes = 300;
        limits.unread_soft_bytes = 2_000;
        limits.unread_hard_bytes = 4_000;
    });
    let mut talk = Talk::begin(world, Dice::Given(choices));
    while !talk.dice.is_over() {
        talk.step();
    }
    talk.world.advance(7_200_000);
    talk.world.end();
}

/// A service with room for two calls, two callers, and the calls so far.
struct Talk<'a> {
    world: World,
    dice: Dice<'a>,
    service: Peer,
    callers: [Peer; 2],
    calls: Vec<Ticket>,
    delivered: Vec<Delivered>,
}

impl<'a> Talk<'a> {
    fn begin(mut world: World, dice: Dice<'a>) -> Self {
        let (service, callers) = (world.streamer("s", 2), [world.peer(OWNER), world.peer(OWNER)]);
        Self { world, dice, service, callers, calls: Vec::new(), delivered: Vec::new() }
    }

    fn step(&mut self) {
        match self.dice.below(16) {
            0 => self.call(),
            1..=3 => self.item(),
            4..=6 => self.item_back(),
            7 => self.end(),
            8..=9 => self.credit(),
            10..=11 => self.credit_back(),
            12 => self.answer(),
            13 => self.read(),
            14 => {
                let ms = [1, 100, 40_000][self.index(3)];
                self.world.advance(ms);
            }
            _ => {
                if let Some(call) = self.dice.pick(&self.calls) {
                    self.world.cancel(call);
                }
            }
        }
        while let Some(delivered) = self.world.take_call(self.service) {
            self.delivered.push(delivered);
        }
        self.delivered.retain(|delivered| self.world.is_open(delivered.to));
        [self.service].iter().chain(&self.callers).for_each(|peer| self.world.clear_inbox(*peer));
    }

    fn call(&mut self) {
        let peer = self.callers[self.index(2)];
        let request = match self.dice.below(4) {
            0 => Request::to("s", ""),
            1 => Request::to("s", "").upload(),
            2 => Request::to("s", "").download(),
            _ => Request::to("s", "").upload().download(),
        };
        if self.world.is_ready(peer) {
            let call = self.world.make(peer, request);
            self.calls.push(call);
        }
    }

    fn item(&mut self) {
        let (call, len) = (self.dice.pick(&self.calls), self.index(320));
        if let Some(call) = call.filter(|call| self.world.may_stream(*call)) {
            self.world.send_item(call, &vec![b'u'; len]);
        }
    }

    fn item_back(&mut self) {
        let (delivered, len) = (self.one_delivered(), self.index(320));
        if let Some(delivered) = delivered {
            self.world.send_item_back(&delivered, &vec![b'd'; len]);
        }
    }

    fn end(&mut self) {
        let (call, error) = (self.dice.pick(&self.calls), [None, Some(ErrorCode::APP_ERROR)][self.index(2)]);
        if let Some(call) = call.filter(|call| self.world.may_stream(*call)) {
            self.world.end_items(call, error, "");
        }
    }

    fn credit(&mut self) {
        let (call, (items, bytes)) = (self.dice.pick(&self.calls), self.some_credit());
        if let Some(call) = call.filter(|call| self.world.may_stream(*call)) {
            self.world.grant(call, items, bytes);
        }
    }

    fn credit_back(&mut self) {
        let (delivered, (items, bytes)) = (self.one_delivered(), self.some_credit());
        if let Some(delivered) = delivered {
            self.world.grant_back(&delivered, items, bytes);
        }
    }

    fn answer(&mut self) {
        if self.delivered.is_empty() || !self.world.is_ready(self.service) {
            return;
        }
        let at = self.index(self.delivered.len());
        let delivered = self.delivered.remove(at);
        match self.dice.below(2) {
            0 => self.world.reply(&delivered, b"done"),
            _ => self.world.fail(&delivered, ErrorCode::APP_ERROR),
        }
    }

    fn read(&mut self) {
        let peer = [self.service, self.callers[0], self.callers[1]][self.index(3)];
        match self.dice.below(2) {
            0 => self.world.pause_reading(peer),
            _ => self.world.resume_reading(peer),
        }
    }

    /// A delivered call, now and then under the number of another one.
    fn one_delivered(&mut self) -> Option<Delivered> {
        if self.delivered.is_empty() || !self.world.is_ready(self.service) {
            return None;
        }
        let at = self.index(self.delivered.len());
        let delivered = self.delivered[at].clone();
        match self.dice.once_in(16) {
            true => Some(Delivered { call: Call { id: delivered.call.id ^ 1, ..delivered.call }, ..delivered }),
            false => Some(delivered),
        }
    }

    fn some_credit(&mut self) -> (u32, u64) {
        let items = [0, 1, 5, u32::MAX][self.index(4)];
        (items, [0, 1, 400, u64::MAX][self.index(4)])
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.dice.below(len.max(1) as u64)).unwrap_or(0)
    }
}
