//! The attacks: what a hostile connection writes, whether it reads, and what it does next.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{
    Call, Cancel, Element, Encoding, ErrorCode, Event, Header, Kind, Message, Reply, Routing, limits::MAX_BODY,
};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, sendmsg, socket,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    broker::Broker,
    dbus::{self, Body},
    peer::hello,
};

/// What an attacker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tongue {
    /// The protocol of this broker.
    Native,
    /// D-Bus.
    DBus,
}

/// An attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attack {
    /// Pings without a pause, and reads the pongs.
    Pings,
    /// Pings, and never reads.
    UnreadPings,
    /// Calls to a name that is not there, which policy denies a stranger.
    Denied,
    /// The same, and never reads the errors.
    UnreadDenied,
    /// Denied calls with bodies of 60 kB.
    DeniedBulk,
    /// Denied one-way calls.
    DeniedOneWay,
    /// Denied calls with a deadline of a millisecond.
    DeniedBrief,
    /// Cancels of calls that do not exist.
    Cancels,
    /// Registrations.
    Registers,
    /// `ipc.peers`, whose answers are long.
    Peers,
    /// `ipc.list`.
    Lists,
    /// `ipc.limits`, never read.
    UnreadLimits,
    /// Waits for names that never appear.
    Waits,
    /// Publishes, and reads the events.
    Events,
    /// Publishes, and never reads the events.
    UnreadEvents,
    /// Subscriptions, far more than a connection may have.
    Subscribes,
    /// Takes the same lock, again and again.
    Locks,
    /// Items of calls that do not exist.
    Items,
    /// Items and credit of calls that were never delivered to it.
    StrayItems,
    /// Random bytes instead of a hello.
    Garbage,
    /// Random bytes after the hello.
    LateGarbage,
    /// Replies to nothing.
    Strays,
    /// Connects and says nothing.
    Silence,
    /// Connects and closes.
    Connects,
    /// Connects, says hello and closes.
    Hellos,
    /// Connects, and says only half a hello.
    HalfHellos,
    /// Announces a body of 1 MiB, sends some of it, and waits.
    Announces,
    /// The first half of a frame of 1 MiB, then closes.
    HalfFrames,
    /// Pings a byte at a time.
    Trickle,
    /// Urgent bytes (`MSG_OOB`).
    Urgent,
    /// A descriptor with each ping.
    Descriptors,
    /// Datagrams that ask for an answer, which it never reads.
    Datagrams,
    /// Datagrams of garbage.
    DatagramGarbage,
}

/// What a connection does once it has written its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Writes them again, with new numbers.
    Repeat,
    /// Nothing, until it is cut.
    Hold,
    /// Closes, and connects again.
    Close,
}

/// Whether a connection reads what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    All,
    Nothing,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    AtOnce,
    ByteByByte,
    Urgently,
    WithDescriptor,
}

/// What an attack writes and reads.
#[derive(Clone, Debug)]
struct Style {
    bytes: Vec<u8>,
    frames: usize,
    /// What is said first.
    greeting: Vec<u8>,
    reads: Reads,
    then: Then,
    how: How,
}

/// Many connections that make the same attack.
#[derive(Debug)]
pub struct Assault {
    socket: PathBuf,
    style: Style,
    places: Vec<Option<Attacker>>,
    done: Done,
}

/// What an assault has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Connections made.
    pub connects: u64,
    /// Batches of frames written.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// Bytes read.
    pub read: u64,
}

#[derive(Debug)]
struct Attacker {
    stream: UnixStream,
    /// What is still to be written, from `written` on.
    bytes: Vec<u8>,
    written: usize,
    serial: u64,
    is_holding: bool,
}

/// The result of one look at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Some,
    None,
    Ended,
}

impl Attack {
    /// Whether it uses the datagram socket.
    #[must_use]
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Datagrams | Self::DatagramGarbage)
    }

    fn style_in(self, tongue: Tongue) -> Style {
        match tongue {
            Tongue::Native => self.style(),
            Tongue::DBus => self.style_in_dbus().expect("an attack that D-Bus knows"),
        }
    }

    /// The same in D-Bus; `None` of what means nothing there.
    fn style_in_dbus(self) -> Option<Style> {
        let bytes = |bytes, then| Style { greeting: dbus::greeting(), ..Style::bytes(bytes, then) };
        let repeat = |call: dbus::Call<'_>, frames| Style {
            frames,
            ..bytes(call.to_bytes(FIRST_IN_DBUS).repeat(frames), Then::Repeat)
        };
        let of_broker = |member, body| dbus::Call::of_broker(member, body);
        let (ping, denied) = (dbus::Call::ping(), dbus::Call::to("com.example.Nobody"));
        Some(match self {
            Self::Silence | Self::Connects | Self::Garbage => self.style(),
            Self::HalfHellos => Style::bytes(dbus::greeting()[..20].to_vec(), Then::Hold).unheralded(),
            Self::Hellos => bytes(Vec::new(), Then::Close),
            Self::LateGarbage => bytes(garbage(), Then::Hold),
            Self::Pings => repeat(ping, BATCH),
            Self::UnreadPings => repeat(ping, BATCH).unread(),
            Self::Denied => repeat(denied, BATCH),
            Self::Registers => repeat(of_broker("RequestName", Body::Name("com.example.Mine")), BATCH),
            Self::Waits => repeat(of_broker("AddMatch", Body::Text("arg0='never'")), BATCH),
            Self::Announces => {
                let long = "x".repeat(MAX_BODY as usize - 8);
                bytes(
                    dbus::Call { body: Body::Text(&long), ..denied }.to_bytes(FIRST_IN_DBUS)[..1_000].to_vec(),
                    Then::Hold,
                )
            }
            Self::Descriptors => {
                let with = dbus::Call { descriptors: 1, ..ping };
                Style { how: How::WithDescriptor, ..repeat(with, 1) }
            }
            _ => return None,
        })
    }

    fn style(self) -> Style {
        let flood = |message: &Message| Style::repeat(message, BATCH);
        match self {
            Self::Pings => flood(&Message::Ping(1)),
            Self::UnreadPings => flood(&Message::Ping(1)).unread(),
            Self::Denied | Self::Datagrams => flood(&call("nobody", "", 0)),
            Self::UnreadDenied => flood(&call("nobody", "", 0)).unread(),
            Self::DeniedBulk => Style::repeat(&call("nobody", vec![7; 60_000], 0), 2),
            Self::DeniedOneWay => flood(&one_way("nobody")),
            Self::DeniedBrief => flood(&call("nobody", "", 1)),
            Self::Cancels => flood(&Message::Cancel(Cancel { id: 1, reason: ErrorCode::CANCELLED, delivered: None })),
            Self::Registers => flood(&call("ipc.register", r#"{"name":"mine"}"#, 0)),
            Self::Peers => flood(&call("ipc.peers", "{}", 0)),
            Self::Lists => flood(&call("ipc.list", "{}", 0)),
            Self::UnreadLimits => flood(&call("ipc.limits", "{}", 0)).unread(),
            Self::Waits => flood(&call("ipc.wait", r#"{"name":"never"}"#, 0)),
            Self::Events => flood(&event()).subscribed(),
            Self::UnreadEvents => flood(&event()).subscribed().unread(),
            Self::Subscribes => flood(&call("ipc.subscribe", r#"{"pattern":"a.*.b.*.c.**","last":true}"#, 0)),
            Self::Locks => flood(&call("ipc.lock", r#"{"name":"mine"}"#, 0)),
            Self::Items => flood(&item(false)),
            Self::StrayItems => flood(&item(true)),
            Self::Garbage => Style::bytes(garbage(), Then::Hold).unheralded(),
            Self::LateGarbage => Style::bytes(garbage(), Then::Hold),
            Self::Strays => {
                flood(&Message::Reply(Reply { id: 1, encoding: Encoding::BYTES, body: Bytes::new().into() }))
            }
            Self::Silence => Style::bytes(Vec::new(), Then::Hold).unheralded(),
            Self::Connects => Style::bytes(Vec::new(), Then::Close).unheralded(),
            Self::Hellos => Style::bytes(Vec::new(), Then::Close),
            Self::HalfHellos => Style::bytes(hello().to_vec()[..20].to_vec(), Then::Hold).unheralded(),
            Self::Announces => Style::bytes(announced(1_000), Then::Hold),
            Self::HalfFrames => Style::bytes(announced(500_000), Then::Close),
            Self::Trickle => Style { how: How::ByteByByte, ..flood(&Message::Ping(1)) },
            Self::Urgent => Style { how: How::Urgently, ..flood(&Message::Ping(1)) },
            Self::Descriptors => Style { how: How::WithDescriptor, ..Style::repeat(&Message::Ping(1), 1) },
            Self::DatagramGarbage => Style::bytes(garbage(), Then::Repeat),
        }
    }
}

impl Style {
    fn repeat(message: &Message, frames: usize) -> Self {
        Self { frames, ..Self::bytes(message.to_vec().repeat(frames), Then::Repeat) }
    }

    fn bytes(bytes: Vec<u8>, then: Then) -> Self {
        Self { bytes, frames: 1, greeting: hello().to_vec(), reads: Reads::All, then, how: How::AtOnce }
    }

    fn unread(self) -> Self {
        Self { reads: Reads::Nothing, ..self }
    }

    /// With a subscription to its own events.
    fn subscribed(mut self) -> Self {
        let subscribe = Message::Call(crate::peer::call(u64::MAX, "ipc.subscribe", r#"{"pattern":"flood."}"#));
        self.greeting.extend(subscribe.to_vec());
        self
    }

    /// Without a greeting.
    fn unheralded(self) -> Self {
        Self { greeting: Vec::new(), ..self }
    }
}

impl Assault {
    /// An assault with `count` connections, none of which has been made yet.
    #[must_use]
    pub fn new(attack: Attack, tongue: Tongue, socket: &Path, count: usize) -> Self {
        let places = (0..count).map(|_| None).collect();
        Self { socket: socket.to_owned(), style: attack.style_in(tongue), places, done: Done::default() }
    }

    /// Does what each connection can do now. A connection that has ended is made again.
    pub fn step(&mut self) -> Done {
        let mut is_idle = true;
        for place in &mut self.places {
            let progress = match place {
                Some(attacker) => attacker.step(&self.style, &mut self.done),
                None => {
                    *place = Attacker::connect(&self.socket, &self.style);
                    self.done.connects += u64::from(place.is_some());
                    if place.is_some() { Progress::Some } else { Progress::None }
                }
            };
            if progress == Progress::Ended {
                *place = None;
            }
            is_idle &= progress == Progress::None;
        }
        if is_idle {
            self.wait();
        }
        self.done
    }

    /// Waits until a connection can go on, or 10 ms.
    fn wait(&self) {
        let wanted = |attacker: &Attacker| match (attacker.is_holding, self.style.reads) {
            (true, Reads::Nothing) => PollFlags::empty(),
            (true, Reads::All) => PollFlags::IN,
            (false, Reads::Nothing) => PollFlags::OUT,
            (false, Reads::All) => PollFlags::IN | PollFlags::OUT,
        };
        let attackers = self.places.iter().flatten();
        let mut fds: Vec<_> = attackers.map(|attacker| PollFd::new(&attacker.stream, wanted(attacker))).collect();
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
    }
}

impl Attacker {
    /// Connects, unless the backlog is full.
    fn connect(path: &Path, style: &Style) -> Option<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
        let (mut serial, mut first) = (0, style.bytes.clone());
        renumber(&mut first, &mut serial);
        let bytes = [&style.greeting[..], &first].concat();
        Some(Self { stream: socket.into(), bytes, written: 0, serial, is_holding: false })
    }

    fn step(&mut self, style: &Style, done: &mut Done) -> Progress {
        let has_read = match style.reads {
            Reads::Nothing => Progress::None,
            Reads::All => match self.read(done) {
                Progress::Ended => return Progress::Ended,
                progress => progress,
            },
        };
        if self.is_holding {
            return has_read;
        }
        while self.written < self.bytes.len() {
            match self.write(style.how) {
                Ok(0) => return Progress::Ended,
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return has_read,
                Err(_) => return Progress::Ended,
            }
            if style.how == How::ByteByByte {
                return Progress::Some;
            }
        }
        done.batches += 1;
        done.frames += style.frames as u64;
        match style.then {
            Then::Close => return Progress::Ended,
            Then::Hold => self.is_holding = true,
            Then::Repeat => self.repeat(style),
        }
        Progress::Some
    }

    fn read(&mut self, done: &mut Done) -> Progress {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => Progress::Ended,
            Ok(len) => {
                done.read += len as u64;
                Progress::Some
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::None,
            Err(_) => Progress::Ended,
        }
    }

    fn write(&mut self, how: How) -> io::Result<usize> {
        let rest = &self.bytes[self.written..];
        let socket = self.stream.as_raw_fd();
        let sent = match how {
            How::AtOnce => return (&self.stream).write(rest),
            How::ByteByByte => send(socket, &rest[..1], MsgFlags::MSG_NOSIGNAL),
            How::Urgently => send(socket, rest, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_OOB),
            How::WithDescriptor => {
                let own = [self.stream.as_fd().as_raw_fd()];
                let control = [ControlMessage::ScmRights(&own)];
                let with = sendmsg::<()>(socket, &[IoSlice::new(rest)], &control, MsgFlags::MSG_NOSIGNAL, None);
                // A kernel that keeps descriptors out refuses the whole message.
                if with == Err(Errno::EPERM) { send(socket, rest, MsgFlags::MSG_NOSIGNAL) } else { with }
            }
        };
        Ok(sent?)
    }

    fn repeat(&mut self, style: &Style) {
        let greeting = self.bytes.len() - style.bytes.len();
        self.bytes.drain(..greeting);
        renumber(&mut self.bytes, &mut self.serial);
        self.written = 0;
    }
}

/// Attacks a broker from this process for 300 ms.
pub fn attack_for(attack: Attack, broker: &Broker, connections: usize) {
    let end = Instant::now() + Duration::from_millis(300);
    let mut assault = Assault::new(attack, Tongue::Native, broker.socket(), connections);
    while Instant::now() < end {
        assault.step();
    }
}

/// Sends datagrams from `count` sockets for as long as `goes_on` says so, and reads nothing.
pub fn send_datagrams(
    attack: Attack,
    socket: &Path,
    count: usize,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Done> {
    let style = attack.style();
    let frame = &style.bytes[..style.bytes.len() / style.frames];
    let senders = (0..count).map(|_| datagram_sender(socket)).collect::<io::Result<Vec<_>>>()?;
    let mut done = Done { connects: count as u64, ..Done::default() };
    while goes_on() {
        let mut is_idle = true;
        for sender in &senders {
            let sent = sender.send(frame).is_ok();
            done.frames += u64::from(sent);
            is_idle &= !sent;
        }
        if is_idle {
            let mut fds: Vec<_> = senders.iter().map(|sender| PollFd::new(sender, PollFlags::OUT)).collect();
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
        }
    }
    Ok(done)
}

fn datagram_sender(socket: &Path) -> io::Result<UnixDatagram> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("attack-{}-{number}", std::process::id());
    let sender = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    sender.connect(format!("{}.dgram", socket.display()))?;
    sender.set_nonblocking(true)?;
    Ok(sender)
}

/// Gives the frames the next numbers. Bytes that are not frames stay as they are.
fn renumber(frames: &mut [u8], serial: &mut u64) {
    let mut rest = frames;
    while rest.len() >= HEADER_LEN && rest[0] == 0xc1 {
        *serial += 1;
        rest[8..16].copy_from_slice(&serial.to_le_bytes());
        let body = u32::from_le_bytes([rest[16], rest[17], rest[18], rest[19]]) as usize;
        let routing = usize::from(u16::from_le_bytes([rest[20], rest[21]]));
        let Some((_, next)) = rest.split_at_mut_checked(HEADER_LEN + routing + body) else { return };
        rest = next;
    }
}

fn call(target: &str, body: impl Into<Bytes>, timeout_ms: u32) -> Message {
    Message::Call(Call { timeout_ms, ..crate::peer::call(1, target, body) })
}

fn one_way(target: &str) -> Message {
    Message::Call(Call { one_way: true, ..crate::peer::call(1, target, "") })
}

fn event() -> Message {
    Message::Event(Event {
        id: 1,
        one_way: true,
        retained: false,
        encoding: Encoding::BYTES,
        publisher: Bytes::new(),
        routing: Routing::on("flood.of.events").build(),
        body: vec![7; 500].into(),
    })
}

fn item(delivered: bool) -> Message {
    Message::Item(Element { id: 1, delivered, encoding: Encoding::BYTES, body: vec![7; 500].into() })
}

/// A call whose header announces 1 MiB, and as much of its body.
fn announced(len: usize) -> Vec<u8> {
    let routing = Routing::to("nobody", "").build();
    let header = Header {
        routing_len: u16::try_from(routing.raw().len()).expect("a section is short"),
        body_len: MAX_BODY,
        ..Header::new(Kind::CALL, 1)
    };
    [&header.to_bytes()[..], routing.raw(), &vec![7; len]].concat()
}

/// Bytes that look random, and are the same each time. The first is not that of a frame.
fn garbage() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..4_096).map(|at| if at == 0 { 0x16 } else { next() }).collect()
}

const HEADER_LEN: usize = ipc_protocol::limits::HEADER_LEN;
/// The number of each call of an attacker in D-Bus.
const FIRST_IN_DBUS: u32 = 2;
/// Frames that are written at once.
const BATCH: usize = 64;
