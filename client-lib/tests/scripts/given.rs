//! A client whose broker follows a script: what comes of items, credit, events and gaps in any order. A model beside it says what the
//! program must be told. The fuzz target `session` runs it, too.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_client::{
    Client, Encoding, Error, ErrorCode, Notice, Request, StreamCallBytes, Streams, Subscription, control::Keeping,
};
use ipc_protocol::{
    Credit, Decoder, Element, Event, Failure, Features, FieldTag, Gap, Identity, Incoming, Message, PeerNumber, Reply,
    Routing, Welcome, control,
};

/// Input: a byte that says which half of the library is meant, then one for each step.
pub(crate) fn run(script: &[u8]) {
    let Some((first, steps)) = script.split_first() else { return };
    match first % 2 {
        0 => Streaming::begin().follow(steps),
        _ => Subscribed::begin(first / 2).follow(steps),
    }
}

/// The broker's end of a connection.
struct Line {
    socket: UnixStream,
    decoder: Decoder,
}

impl Line {
    /// A client that finds its welcome as soon as it looks.
    fn with_client() -> (Client, Self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut line = Self { socket: ours, decoder: Decoder::new(1 << 20) };
        line.send(&Message::Welcome(Welcome {
            version: 1,
            features: Features(0),
            peer: PeerNumber(42),
            max_body: 1 << 20,
            call_default_ms: 30_000,
            call_max_ms: 3_600_000,
            agent: "script".into(),
        }));
        (Client::from_fd(theirs.into()).unwrap(), line)
    }

    fn send(&mut self, message: &Message) {
        self.socket.write_all(&message.to_vec()).unwrap();
    }

    /// The next message; waits for it.
    fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.read() {
                return message;
            }
        }
    }

    /// What the client has sent by now.
    fn all(&mut self) -> Vec<Message> {
        self.socket.set_nonblocking(true).unwrap();
        let all = std::iter::from_fn(|| self.read()).collect();
        self.socket.set_nonblocking(false).unwrap();
        all
    }

    fn read(&mut self) -> Option<Message> {
        let mut chunk = [0; 4096];
        loop {
            match self.decoder.next().unwrap() {
                Some(Incoming::Frame(frame)) => return Some(Message::decode(frame).unwrap()),
                Some(other) => panic!("{other:?}"),
                None => match self.socket.read(&mut chunk) {
                    Ok(len @ 1..) => self.decoder.feed(Bytes::copy_from_slice(&chunk[..len])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                    other => panic!("{other:?}"),
                },
            }
        }
    }
}

// ---- items and credit

/// A two-way call, and what its caller must be told of it.
struct Streaming {
    line: Line,
    call: StreamCallBytes,
    id: u64,
    /// Items that came and were not taken, by their numbers.
    due: VecDeque<u64>,
    came: u64,
    taken: u64,
    /// Items and bytes that the caller may send, and the items that it has sent.
    credit: (u64, i128),
    sent: u64,
    arrived: u64,
    /// Items that the service may send.
    granted: u64,
    is_over: bool,
    /// How the call has ended, as the program will be told.
    end: Option<Result<(), ErrorCode>>,
}

impl Streaming {
    fn begin() -> Self {
        let (client, mut line) = Line::with_client();
        let request = Request::new("s".parse().unwrap(), "");
        let call = client.stream_bytes(request, Streams { request: true, reply: true }).unwrap();
        let Message::Hello(_) = line.next() else { panic!("no hello") };
        let Message::Call(sent) = line.next() else { panic!("no call") };
        let (due, credit) = (VecDeque::new(), (0, 0));
        let id = sent.id;
        Self {
            line,
            call,
            id,
            due,
            came: 0,
            taken: 0,
            credit,
            sent: 0,
            arrived: 0,
            granted: 0,
            is_over: false,
            end: None,
        }
    }

    fn follow(mut self, steps: &[u8]) {
        steps.iter().take(2_000).for_each(|step| self.step(*step));
        while !self.due.is_empty() {
            self.take();
        }
        self.take(); // and what has not been read yet
        self.take();
        for _ in 0..self.credit.0.min(10) {
            let could = !self.is_over && self.credit.1 > 0;
            assert_eq!(self.try_send(), could, "with credit for {:?}", self.credit);
        }
        self.look();
        assert_eq!(self.arrived, self.sent);
    }

    fn step(&mut self, step: u8) {
        let (id, size) = (self.id, u64::from(step / 16));
        match step % 16 {
            0..=3 => self.item(usize::from(step / 16)),
            4 => self.line.send(&item(id + 1, false, 7, 8)),
            5 => self.line.send(&item(id, true, 7, 8)),
            6..=7 => self.allow(u32::from(step / 32), size * 10),
            8 => self.allow(u32::MAX, u64::MAX),
            9 => self.line.send(&credit(id + 1, false, 1, 1)),
            10 => self.line.send(&credit(id, true, 1, 1)),
            11 if step == 11 => self.finish(Ok(())),
            11 if step == 27 => self.finish(Err(ErrorCode::SERVICE_GONE)),
            12 => _ = self.try_send(),
            _ => self.take(),
        }
        self.look();
        if self.due.len() > 100 {
            self.take();
        }
    }

    /// The service sends an item. A broker sends none on behind the end of the call.
    fn item(&mut self, len: usize) {
        if self.is_over {
            return;
        }
        self.line.send(&item(self.id, false, self.came, len));
        self.due.push_back(self.came);
        self.came += 1;
    }

    fn allow(&mut self, items: u32, bytes: u64) {
        self.line.send(&credit(self.id, false, items, bytes));
        if !self.is_over {
            self.credit = (self.credit.0 + u64::from(items), self.credit.1 + i128::from(bytes));
        }
    }

    fn finish(&mut self, end: Result<(), ErrorCode>) {
        let (id, encoding) = (self.id, Encoding::BYTES);
        self.line.send(&match end {
            Ok(()) => Message::Reply(Reply { id, encoding, body: Bytes::new().into() }),
            Err(code) => Message::Error(Failure::new(id, code, "")),
        });
        self.end.get_or_insert(end);
        self.is_over = true;
    }

    /// The program takes what is next: all items, then once how the call has ended.
    fn take(&mut self) {
        let got = self.call.next_within(Duration::ZERO);
        match (self.due.front(), self.end) {
            (None, None) => assert!(matches!(got, Ok(None)), "{got:?} comes from nowhere"),
            (Some(number), _) => {
                let item = got.unwrap().unwrap().expect("there are more items");
                assert_eq!(item.body[..8], number.to_le_bytes(), "item {number} is next");
                self.due.pop_front();
                self.taken += 1;
            }
            (None, Some(Ok(()))) => assert!(got.unwrap().unwrap().is_none()),
            (None, Some(Err(code))) => {
                let told = got.as_ref().err().map(Error::code);
                assert_eq!(told, Some(code), "{got:?}");
                self.end = Some(Ok(())); // it is told once
            }
        }
    }

    /// The program sends, if it may, and says whether it did.
    fn try_send(&mut self) -> bool {
        let may = self.credit.0 > 0 && self.credit.1 > 0;
        let body = self.sent.to_le_bytes().to_vec();
        let len = i128::try_from(body.len()).unwrap();
        let sent: Result<(), Error> = self.call.send_until(Encoding::BYTES, body, Some(Instant::now()), None);
        if sent.is_ok() {
            assert!(may, "an item without credit: {:?}", self.credit);
            self.credit = (self.credit.0 - 1, self.credit.1 - len);
            self.sent += 1;
        }
        sent.is_ok()
    }

    /// Looks at what the client has sent.
    fn look(&mut self) {
        for message in self.line.all() {
            match message {
                Message::Item(item) => {
                    assert_eq!((item.id, item.delivered), (self.id, false));
                    assert_eq!(item.body[..], self.arrived.to_le_bytes());
                    self.arrived += 1;
                }
                Message::Credit(credit) => self.granted += u64::from(credit.items),
                other => panic!("{other:?}"),
            }
        }
        assert!(self.granted <= 256 + self.taken, "{} allowed, {} taken", self.granted, self.taken);
    }
}

/// An item with a number and `len` more bytes.
fn item(id: u64, delivered: bool, number: u64, len: usize) -> Message {
    let body = [number.to_le_bytes().to_vec(), vec![0; len]].concat();
    Message::Item(Element { id, delivered, encoding: Encoding::BYTES, body: body.into() })
}

fn credit(id: u64, delivered: bool, items: u32, bytes: u64) -> Message {
    Message::Credit(Credit { id, delivered, items, bytes })
}

// ---- events and gaps

/// A subscription, and how many events it was sent or told to be lost. An event's body is its place among them.
struct Subscribed {
    line: Line,
    subscription: Subscription,
    keeping: Keeping,
    came: u64,
    told: u64,
}

impl Subscribed {
    fn begin(choice: u8) -> Self {
        let (client, mut line) = Line::with_client();
        let policies = [Keeping::DropOldest, Keeping::DropNewest, Keeping::Latest, Keeping::Cut];
        let keeping = policies[usize::from(choice % 4)];
        let subscribe = client.subscription("**").policy(keeping).queue(1 + u32::from(choice / 4));
        let subscription = thread::scope(|scope| {
            let starting = scope.spawn(|| subscribe.start().unwrap());
            let Message::Hello(_) = line.next() else { panic!("no hello") };
            let Message::Call(call) = line.next() else { panic!("no call") };
            let body = serde_json::to_vec(&control::Subscribed { subscription: NUMBER }).unwrap();
            line.send(&Message::Reply(Reply { id: call.id, encoding: Encoding::JSON, body: body.into() }));
            starting.join().unwrap()
        });
        Self { line, subscription, keeping, came: 0, told: 0 }
    }

    fn follow(mut self, steps: &[u8]) {
        let ends = steps.iter().take(500).any(|step| self.step(*step))
            || loop {
                match self.take() {
                    Some(true) => break true,
                    Some(false) => {}
                    None => break false,
                }
            };
        assert!(!ends || self.keeping == Keeping::Cut, "it has ended");
        assert!(ends || self.told == self.came, "{} were told of {}", self.told, self.came);
    }

    /// Does one thing, and says whether the subscription has ended.
    fn step(&mut self, step: u8) -> bool {
        match step % 16 {
            0..=7 => {
                let topic = ["t.a", "t.b", "u"][usize::from(step / 16) % 3];
                self.line.send(&event(NUMBER, topic, self.came));
                self.came += 1;
            }
            8..=9 => {
                let lost = [1, 2, 1_000, 1 << 40][usize::from(step / 16) % 4];
                self.line.send(&Message::Gap(Gap { id: NUMBER, lost }));
                self.came += lost;
            }
            10 => self.line.send(&Message::Gap(Gap { id: NUMBER, lost: 0 })),
            11 => self.line.send(&Message::Gap(Gap { id: NUMBER + 1, lost: 9 })),
            12 => self.line.send(&event(NUMBER + 1, "t.a", 0)),
            _ => return self.take() == Some(true),
        }
        false
    }

    /// The program takes what is next. Returns whether that was the end; `None` if there is nothing.
    fn take(&mut self) -> Option<bool> {
        match self.subscription.next_within(Duration::ZERO) {
            Ok(None) => return None,
            Ok(Some(Notice::Event(event))) => {
                assert_eq!(event.body[..], self.told.to_le_bytes(), "the event after {} others", self.told);
                self.told += 1;
            }
            Ok(Some(Notice::Gap(lost))) => {
                assert!(lost > 0, "a gap of nothing");
                self.told += lost;
            }
            Err(error) if error.code() == ErrorCode::BUSY => return Some(true),
            other => panic!("{other:?}"),
        }
        Some(false)
    }
}

fn event(subscription: u64, topic: &str, number: u64) -> Message {
    Message::Event(Event {
        id: subscription,
        one_way: false,
        retained: false,
        encoding: Encoding::BYTES,
        publisher: Identity::new(1_000, 100).stamp(Some(PeerNumber(7))),
        routing: Routing::on(topic).put(FieldTag::SEQUENCE, &number.to_le_bytes()).build(),
        body: number.to_le_bytes().to_vec().into(),
    })
}

/// The number that the broker gives the subscription.
const NUMBER: u64 = 5;
