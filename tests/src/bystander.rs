//! A caller and a service that do nothing wrong: what their calls cost while others attack the broker.

use std::{
    fmt, io,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ipc_protocol::Message;

use crate::{
    dbus::{self, DBusPeer},
    eventually::until,
    peer::Peer,
};

/// A client with an echo service on a thread of its own.
#[derive(Debug)]
pub struct Bystander {
    caller: Caller,
    service: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// A client with the name that it calls.
#[derive(Debug)]
enum Caller {
    Native(Peer, String),
    DBus(DBusPeer),
}

/// How long calls took.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    sorted: Vec<Duration>,
    /// What became of the calls that were not answered.
    pub failed: Vec<String>,
}

impl Bystander {
    /// Connects both, and offers a name.
    #[must_use]
    pub fn start(socket: &Path, name: &str) -> Self {
        let connect = || Peer::on(UnixStream::connect(socket).expect("the broker listens")).greet();
        let (mut service, client) = (connect(), connect());
        client.stream().set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        service.register(name, 16);
        let stream = service.stream().try_clone().expect("a descriptor is free");
        stream.set_read_timeout(None).expect("no timeout is a good one");
        let thread = std::thread::spawn(move || {
            while let Some(message) = service.receive() {
                let Message::Call(call) = message else { continue };
                let body = call.body.bytes().clone();
                service.answer(&call, body);
            }
        });
        Self { caller: Caller::Native(client, name.to_owned()), service: stream, thread: Some(thread) }
    }

    /// The same at a broker that speaks D-Bus.
    ///
    /// # Errors
    /// Those of the sockets, and what the broker refuses.
    pub fn start_in_dbus(socket: &Path) -> io::Result<Self> {
        let connect = || DBusPeer::connect(socket, PATIENCE_IN_DBUS);
        let (mut service, client) = (connect()?, connect()?);
        service.call(dbus::Call::of_broker("RequestName", dbus::Body::Name(NAME_IN_DBUS)))?;
        let stream = service.stream().try_clone()?;
        stream.set_read_timeout(None)?;
        let thread = std::thread::spawn(move || {
            while let Ok(message) = service.receive() {
                if message.kind == dbus::CALL && service.answer(&message).is_err() {
                    return;
                }
            }
        });
        Ok(Self { caller: Caller::DBus(client), service: stream, thread: Some(thread) })
    }

    /// Makes calls one after another, one each millisecond, or fewer if they take longer, for as long as `goes_on`, which is given
    /// the number of calls so far, says so.
    pub fn call_while(&mut self, goes_on: impl FnMut(usize) -> bool) -> Latencies {
        timed(PACE, goes_on, || self.caller.call())
    }

    /// Makes calls for some time.
    pub fn call_for(&mut self, time: Duration) -> Latencies {
        let end = Instant::now() + time;
        self.call_while(|_| Instant::now() < end)
    }
}

impl Caller {
    fn call(&mut self) -> Result<(), String> {
        match self {
            Self::Native(client, name) => {
                let id = client.call(name, "are you well?");
                match client.receive() {
                    Some(Message::Reply(reply)) if reply.id == id => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
            Self::DBus(client) => client.call(dbus::Call::to(NAME_IN_DBUS)).map_err(|error| error.to_string()),
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.service.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in it has made calls fail
        }
    }
}

/// Does something at a steady rate, and times it. When it takes longer than a beat, beats are left out: it doesn't catch up in a
/// burst.
pub fn timed(
    pace: Duration,
    mut goes_on: impl FnMut(usize) -> bool,
    mut act: impl FnMut() -> Result<(), String>,
) -> Latencies {
    let mut latencies = Latencies::default();
    let mut next = Instant::now();
    while goes_on(latencies.sorted.len() + latencies.failed.len()) {
        until(next);
        let start = Instant::now();
        match act() {
            Ok(()) => latencies.sorted.push(start.elapsed()),
            Err(why) => latencies.failed.push(why),
        }
        next = (next + pace).max(Instant::now());
    }
    latencies.sorted.sort_unstable();
    latencies
}

impl Latencies {
    /// The time within which `permille` of a thousand calls were answered.
    #[must_use]
    pub fn within(&self, permille: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((self.sorted.len() * permille / 1_000).min(last)).copied().unwrap_or_default()
    }

    /// Whether no call was answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.within(990)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |permille| self.within(permille).as_secs_f64() * 1_000.0;
        let (calls, failed) = (self.sorted.len() + self.failed.len(), self.failed.len());
        write!(f, "p50 {:7.3}  p99 {:8.3}  p99.9 {:8.3}  max {:8.3} ms", ms(500), ms(990), ms(999), ms(1_000))?;
        write!(f, "  of {calls} calls, {failed} failed")
    }
}

/// How long a bystander waits for an answer: longer than any call may take, so that a slow broker is measured.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// How long a bystander waits at a broker that need not hold.
const PATIENCE_IN_DBUS: Duration = Duration::from_secs(2);
/// What the service is called at a broker that speaks D-Bus.
const NAME_IN_DBUS: &str = "com.example.Steady";
/// A thousand calls a second.
const PACE: Duration = Duration::from_millis(1);
