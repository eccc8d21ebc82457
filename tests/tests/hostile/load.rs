//! What a steady caller feels while others attack: broker and caller on CPU 0, attackers on CPU 1.
//!
//! ```text
//! IPCD_SOAK=1 cargo test --release -p ipc-tests --test hostile load -- --nocapture --test-threads=1
//! ```
//!
//! `IPCD_LOAD_SECONDS=N` changes the length of each measurement (5 s), `IPCD_LOAD_CONNECTIONS=N` the connections of the lone stranger
//! (500), `IPCD_LOAD_ATTACKS=pings,denied` the attacks. `IPCD_TEST_PROGRAMS=DIR` chooses the broker.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use ipc_protocol::Message;
use ipc_tests::{
    attack::{Attack, Tongue},
    bench::{Machine, pin},
    broker::{Broker, STRANGER, is_root, skip},
    bystander::{Bystander, Latencies, PATIENCE, timed},
    command::{Command, Running},
    eventually::within,
    ledger::{KernelMemory, Memory},
    peer::{Peer, hello},
    proc,
    programs::Programs,
    siege::is_strict,
};

/// A broker and its bystander on CPU 0, and what they need when idle.
struct Load {
    kernel: KernelMemory,
    broker: Broker,
    bystander: Bystander,
    idle: Latencies,
    idle_connects: Latencies,
    before: Memory,
}

/// Attackers of one user.
pub(crate) struct Band {
    pub(crate) attack: Attack,
    pub(crate) uid: u32,
    pub(crate) connections: usize,
}

#[test]
fn load_of_one_stranger_with_many_connections() {
    if !is_wanted() {
        return;
    }
    let connections = number("IPCD_LOAD_CONNECTIONS", 500);
    let mut slow = Vec::new();
    for attack in chosen(&LONE) {
        let mut load = Load::start();
        slow.extend(load.endure(&name_of(&attack), &[Band { attack, uid: STRANGER, connections }]));
    }
    assert_eq!(slow, [""; 0]);
}

#[test]
fn load_of_twenty_four_users_with_an_attack_each() {
    if !is_wanted() {
        return;
    }
    let uids = STRANGER..;
    let bands: Vec<_> =
        chosen(&TWENTY_FOUR).into_iter().zip(uids).map(|(attack, uid)| Band { attack, uid, connections: 20 }).collect();
    let mut load = Load::start();
    assert_eq!(load.endure("24 users", &bands), None);
}

impl Load {
    fn start() -> Self {
        let kernel = KernelMemory::count();
        pin(&[0]).expect("there is a CPU 0");
        let mut broker = Broker::launched_by("", Command::new(&Programs::get().ipcd, [""; 0]));
        let mut bystander = Bystander::start(broker.socket(), "bystander");
        bystander.call_for(Duration::from_millis(500));
        let (idle, idle_connects) = measure(&broker, &mut bystander);
        let pid = broker.daemon().expect("a process").pid();
        let before = Memory::of(pid, &kernel);
        Self { kernel, broker, bystander, idle, idle_connects, before }
    }

    /// Measures under attack, prints, and returns what is slower than it may be.
    fn endure(&mut self, name: &str, bands: &[Band]) -> Option<String> {
        let pid = self.broker.daemon().expect("a process").pid();
        let attackers: Vec<_> = bands.iter().map(|band| band.start(self.broker.socket(), Tongue::Native)).collect();
        attackers.iter().for_each(|attacker| _ = attacker.expect_output("attacking"));
        self.bystander.call_for(Duration::from_secs(1)); // until the attack is in full swing
        let ticks = proc::cpu_ticks(pid);
        let (calls, connects) = measure(&self.broker, &mut self.bystander);
        let during = Memory::of(pid, &self.kernel);
        let busy = proc::cpu_ticks(pid) - ticks;
        let done: Vec<_> = attackers.into_iter().map(end).collect();
        let is_back = || proc::resident_kib(pid) <= self.before.resident_kib + 8 * 1_024;
        let came_back = within(Duration::from_secs(5), is_back);
        let after = Memory::of(pid, &self.kernel);
        let kernel_peak = self.kernel.peak_kib() / 1_024;

        println!("\n== {name}  ({}; {})", Machine::this().cpu, Machine::this().kernel);
        println!("  idle      calls    {}", self.idle);
        println!("            connects {}", self.idle_connects);
        println!("  attacked  calls    {calls}");
        println!("            connects {connects}");
        println!("  memory    before {}", self.before);
        println!("            during {during}, kernel peak {kernel_peak} MiB of {}", self.kernel.source());
        println!("            after  {after}{}", if came_back { "" } else { "  NOT BACK within 5 s" });
        println!("  broker    {busy} ticks of 10 ms; RSS peak {} MiB", after.peak_kib / 1_024);
        bands.iter().zip(done).for_each(|(band, done)| println!("  {:<16?} {}", band.attack, done));
        let failed = [&calls.failed[..], &connects.failed].concat();
        assert_eq!(failed, [""; 0], "{name}: no call fails");
        self.verdict(name, &calls, &connects, came_back)
    }

    fn verdict(&self, name: &str, calls: &Latencies, connects: &Latencies, came_back: bool) -> Option<String> {
        let bound = (10 * self.idle.p99()).max(Duration::from_millis(2));
        let is_good = calls.p99() <= bound && connects.p99() <= Duration::from_millis(5) && came_back;
        println!(
            "  verdict   {} (p99 of calls at most {bound:.3?}, of connects 5 ms)",
            if is_good { "good" } else { "SLOW" }
        );
        (is_strict() && !is_good).then(|| format!("{name}: {calls}; {connects}"))
    }
}

impl Band {
    /// Starts them on CPU 1.
    pub(crate) fn start(&self, socket: &Path, tongue: Tongue) -> Running {
        let arguments = ["-c", "1", env!("CARGO_BIN_EXE_crowd"), "attack"];
        let crowd = Command::new("taskset", arguments).argument(socket).argument(self.connections.to_string());
        crowd.argument(name_of(&self.attack)).argument(name_of(&tongue)).user(self.uid).interactive().start()
    }
}

/// Calls at 1,000 a second, and meanwhile a new connection of root each 20 ms.
fn measure(broker: &Broker, bystander: &mut Bystander) -> (Latencies, Latencies) {
    let time = seconds(5.0);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let beat = Duration::from_millis(20);
        let connects = scope.spawn(move || timed(beat, |_| Instant::now() < end, || connect(broker)));
        let calls = bystander.call_for(time);
        (calls, connects.join().expect("no thread panics"))
    })
}

pub(crate) fn connect(broker: &Broker) -> Result<(), String> {
    let stream = UnixStream::connect(broker.socket()).map_err(|error| error.to_string())?;
    let mut peer = Peer::on(stream);
    peer.stream().set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    peer.try_send_bytes(&hello().to_vec()).map_err(|error| error.to_string())?;
    match peer.receive() {
        Some(Message::Welcome(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What `crowd` calls it.
fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("none is hidden").get_name().to_owned()
}

/// Ends an attacker, and returns what it says it has done.
pub(crate) fn end(mut attacker: Running) -> String {
    attacker.end_input();
    let finished = attacker.finish();
    let said = finished.stdout().lines().last().unwrap_or_default().to_owned();
    format!("{said}{}", finished.stderr)
}

fn is_wanted() -> bool {
    if std::env::var_os("IPCD_SOAK").is_none() {
        skip("IPCD_SOAK=1 runs it");
        return false;
    }
    is_root()
}

/// How long a measurement takes: this, unless `IPCD_LOAD_SECONDS` says otherwise.
pub(crate) fn seconds(default: f64) -> Duration {
    let chosen = std::env::var("IPCD_LOAD_SECONDS").ok().and_then(|value| value.parse().ok());
    Duration::from_secs_f64(chosen.unwrap_or(default))
}

pub(crate) fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn chosen(default: &[Attack]) -> Vec<Attack> {
    let Ok(names) = std::env::var("IPCD_LOAD_ATTACKS") else { return default.to_vec() };
    names.split(',').map(|name| Attack::from_str(name, true).expect("the name of an attack")).collect()
}

/// The attacks of the stranger with many connections.
const LONE: [Attack; 8] = [
    Attack::Pings,
    Attack::UnreadPings,
    Attack::Denied,
    Attack::Cancels,
    Attack::Registers,
    Attack::Garbage,
    Attack::Connects,
    Attack::Announces,
];

/// The attacks of the many users, one for each.
const TWENTY_FOUR: [Attack; 24] = [
    Attack::Pings,
    Attack::UnreadPings,
    Attack::Denied,
    Attack::UnreadDenied,
    Attack::DeniedBulk,
    Attack::DeniedOneWay,
    Attack::DeniedBrief,
    Attack::Cancels,
    Attack::Registers,
    Attack::Peers,
    Attack::Lists,
    Attack::UnreadLimits,
    Attack::Waits,
    Attack::Garbage,
    Attack::LateGarbage,
    Attack::Strays,
    Attack::Connects,
    Attack::Hellos,
    Attack::Announces,
    Attack::HalfFrames,
    Attack::Trickle,
    Attack::Urgent,
    Attack::Descriptors,
    Attack::Datagrams,
];
