//! A crowd: one process, possibly of another user, that opens many things at once and keeps them until its standard input ends.
//!
//! `crowd connections SOCKET COUNT` says hello on COUNT connections and prints `welcomed=N refused=N other=N` once each has an
//! answer. `crowd datagrams SOCKET COUNT` sends COUNT calls from a socket that can receive answers, reads none, and prints
//! `sent=N`. `crowd hand-over SOCKET 1` says hello and sends its connection through standard input.
//! `crowd attack SOCKET COUNT NAME [d-bus]` makes the attack NAME with COUNT connections and prints `attacking` as soon as it has
//! begun, and at the end what it has done.
#![forbid(unsafe_code)]

use std::{
    io::{self, IoSlice, Read, Write},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use clap::ValueEnum;
use ipc_protocol::{Call, Encoding, ErrorCode, Frame, Hello, Message, Routing};
use ipc_tests::attack::{Assault, Attack, Tongue, send_datagrams};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::process::{Resource, getrlimit, setrlimit};

/// The answer to one connection's hello.
enum Outcome {
    Welcomed,
    /// A goodbye that calls a retry safe.
    Refused,
    Other(String),
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, socket, count, rest @ ..] = &arguments[..] else {
        panic!("usage: crowd WHAT SOCKET COUNT [ATTACK [TONGUE]]")
    };
    let count: usize = count.parse().expect("COUNT is a number");
    match (what.as_str(), rest) {
        ("connections", []) => connections(socket, count),
        ("datagrams", []) => datagrams(socket, count),
        ("hand-over", []) => hand_over(socket),
        ("attack", [name]) => attack(socket.as_ref(), count, name, Tongue::Native),
        ("attack", [name, tongue]) => {
            attack(socket.as_ref(), count, name, Tongue::from_str(tongue, true).expect("TONGUE"))
        }
        other => panic!("{other:?}: expected connections, datagrams, hand-over or attack"),
    }
}

fn attack(socket: &Path, count: usize, name: &str, tongue: Tongue) -> io::Result<()> {
    raise_descriptor_limit()?;
    let attack = Attack::from_str(name, true).expect("ATTACK is one of the attacks, in kebab-case");
    let has_ended = input_has_ended();
    println!("attacking");
    let done = if attack.is_datagram() {
        send_datagrams(attack, socket, count, || !has_ended.load(Ordering::Relaxed))?
    } else {
        let mut assault = Assault::new(attack, tongue, socket, count);
        loop {
            let done = assault.step();
            if has_ended.load(Ordering::Relaxed) {
                break done;
            }
        }
    };
    println!("{done:?}");
    Ok(())
}

/// Becomes true when standard input ends.
fn input_has_ended() -> Arc<AtomicBool> {
    let has_ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&has_ended);
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    has_ended
}

fn connections(socket: &str, count: usize) -> io::Result<()> {
    raise_descriptor_limit()?;
    // Connecting blocks while the backlog is full. Several threads keep it full.
    let (held, outcomes): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|at| (count + at) / THREADS)
            .map(|share| scope.spawn(move || visit(socket, share)))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).unzip()
    });
    let welcomed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Welcomed)).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused)).count();
    println!("welcomed={welcomed} refused={refused} other={}", outcomes.len() - welcomed - refused);
    let other = outcomes.iter().find_map(|outcome| if let Outcome::Other(why) = outcome { Some(why) } else { None });
    other.iter().for_each(|why| eprintln!("{why}"));
    wait_for_end(held)
}

fn datagrams(socket: &str, count: usize) -> io::Result<()> {
    let name = format!("crowd-{}", std::process::id());
    let sender = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    sender.connect(format!("{socket}.dgram"))?; // a connected socket receives any number of answers from its peer
    for id in 1..=count as u64 {
        let call = Call {
            id,
            one_way: false,
            streams: ipc_protocol::Streams::NONE,
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            caller: Bytes::new(),
            routing: Routing::to("ipc", "limits").build(),
            body: Bytes::new().into(),
        };
        sender.send(&Message::Call(call).to_vec())?;
    }
    println!("sent={count}");
    wait_for_end(sender)
}

/// Says hello, and sends the connection through the socket that is standard input.
fn hand_over(socket: &str) -> io::Result<()> {
    let mut connection = UnixStream::connect(socket)?;
    greet(&mut connection);
    first_message(&connection).map_err(io::Error::other)?;
    let rights = [connection.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(io::stdin().as_raw_fd(), &[IoSlice::new(b"!")], &control, MsgFlags::empty(), None)?;
    Ok(())
}

/// Keeps something until standard input ends.
fn wait_for_end<T>(held: T) -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

/// Opens all connections, then says hello on each, then reads all answers.
fn visit(socket: &str, count: usize) -> Vec<(io::Result<UnixStream>, Outcome)> {
    let mut connections: Vec<_> = (0..count).map(|_| UnixStream::connect(socket)).collect();
    connections.iter_mut().flatten().for_each(greet);
    let outcomes: Vec<_> = connections.iter().map(outcome).collect();
    connections.into_iter().zip(outcomes).collect()
}

fn greet(stream: &mut UnixStream) {
    // A refused connection is closed already, but its answer can be read.
    let _ = stream.write_all(&Message::Hello(Hello::new("crowd 1.0")).to_vec());
}

fn outcome(connected: &io::Result<UnixStream>) -> Outcome {
    let answer = connected.as_ref().map_err(ToString::to_string).and_then(first_message);
    match answer {
        Ok(Message::Welcome(_)) => Outcome::Welcomed,
        Ok(Message::Goodbye(goodbye)) if goodbye.code == ErrorCode::BUSY => Outcome::Refused,
        Ok(other) => Outcome::Other(format!("{other:?}")),
        Err(error) => Outcome::Other(error),
    }
}

fn first_message(stream: &UnixStream) -> Result<Message, String> {
    let frame = first_frame(stream).map_err(|error| error.to_string())?;
    let frame = Frame::from_datagram(frame.into(), u32::MAX).map_err(|_| "no whole frame")?;
    Message::decode(frame).map_err(|violation| violation.to_string())
}

fn first_frame(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut frame = vec![0; HEADER_LEN];
    stream.read_exact(&mut frame)?;
    let lengths = [[frame[16], frame[17], frame[18], frame[19]], [frame[20], frame[21], 0, 0]].map(u32::from_le_bytes);
    frame.resize(HEADER_LEN + lengths.iter().sum::<u32>() as usize, 0);
    stream.read_exact(&mut frame[HEADER_LEN..])?;
    Ok(frame)
}

fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The number of threads that connect at the same time.
const THREADS: usize = 8;
const HEADER_LEN: usize = ipc_protocol::limits::HEADER_LEN;
