//! The same attacks on this broker and on others that are installed, each by one stranger, with the table of what bystanders feel.
//! Only this broker must hold.
//!
//! ```text
//! IPCD_LOAD_SECONDS=3 cargo test --release -p ipc-tests --test hostile side_by_side -- --nocapture --test-threads=1
//! ```

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use ipc_tests::{
    attack::{Attack, Tongue},
    bench::{Machine, pin},
    broker::{Broker, STRANGER, is_root, skip},
    bystander::{Bystander, Latencies, timed},
    dbus::DBusPeer,
    proc,
    rival::{Kind, Rival},
    siege::is_strict,
};

use crate::load::{Band, connect, number, seconds};

/// A broker under attack.
enum Besieged {
    Own(Broker),
    Rival(Rival),
}

/// What an attack costs at one broker.
struct Row {
    idle: Latencies,
    calls: Latencies,
    connects: Latencies,
    peak_kib: u64,
}

#[test]
fn side_by_side_the_same_attacks_at_several_brokers() {
    if !is_root() {
        return;
    }
    pin(&[0]).expect("there is a CPU 0");
    let kinds = [None, Some(Kind::DBusDaemon), Some(Kind::DBusBroker)];
    let brokers: Vec<_> = kinds.into_iter().filter_map(|kind| Some((kind, title(kind)?))).collect();
    println!("{}; {}; {CONNECTIONS} connections of one stranger", Machine::this().cpu, Machine::this().kernel);
    println!(
        "| attack | broker | idle p50, p99 ms | attacked p50, p99 ms | failed | connects p50, p99 ms | failed | RSS peak MiB |"
    );
    println!("|--|--|--|--|--|--|--|--|");
    for attack in ATTACKS {
        for (kind, title) in &brokers {
            let row = Besieged::start(*kind).expect("the broker starts").endure(attack).expect("bystanders are let in");
            println!("| {attack:?} | {title} | {row} |");
            if kind.is_none() {
                row.assert_good(attack);
            }
        }
    }
}

/// The broker with its version; `None` and a word about it if it isn't installed.
fn title(kind: Option<Kind>) -> Option<String> {
    let Some(kind) = kind else { return Some(concat!("ipcd ", env!("CARGO_PKG_VERSION")).to_owned()) };
    let version = kind.version();
    if version.is_none() {
        skip(&format!("{} is not installed, or can't run here: its part is left out", kind.program()));
    }
    Some(format!("{} {}", kind.program(), version?))
}

impl Besieged {
    fn start(kind: Option<Kind>) -> io::Result<Self> {
        Ok(match kind {
            None => Self::Own(Broker::in_process("")),
            Some(kind) => Self::Rival(kind.start()?),
        })
    }

    fn socket(&self) -> &Path {
        match self {
            Self::Own(broker) => broker.socket(),
            Self::Rival(rival) => rival.socket(),
        }
    }

    fn endure(mut self, attack: Attack) -> io::Result<Row> {
        let (tongue, pid) = match &mut self {
            Self::Own(broker) => (Tongue::Native, broker.daemon().expect("a process").pid()),
            Self::Rival(rival) => (Tongue::DBus, rival.pid()),
        };
        let mut bystander = match &self {
            Self::Own(broker) => Bystander::start(broker.socket(), "bystander"),
            Self::Rival(rival) => Bystander::start_in_dbus(rival.socket())?,
        };
        bystander.call_for(seconds(SECONDS) / 4); // caches and pages are warm from here on
        let idle = bystander.call_for(seconds(SECONDS));
        let band = Band { attack, uid: STRANGER, connections: number("IPCD_LOAD_CONNECTIONS", CONNECTIONS) };
        let attacker = band.start(self.socket(), tongue);
        attacker.expect_output("attacking");
        bystander.call_for(seconds(SECONDS) / 2); // until the attack is in full swing
        let (calls, connects) = self.measure(&mut bystander);
        let peak_kib = proc::peak_resident_kib(pid);
        crate::load::end(attacker);
        Ok(Row { idle, calls, connects, peak_kib })
    }

    /// Calls at 1,000 a second, and meanwhile a new connection of root each 20 ms.
    fn measure(&self, bystander: &mut Bystander) -> (Latencies, Latencies) {
        let end = Instant::now() + seconds(SECONDS);
        std::thread::scope(|scope| {
            let connects = || timed(Duration::from_millis(20), |_| Instant::now() < end, || self.connect());
            let connects = scope.spawn(connects);
            let calls = bystander.call_while(|_| Instant::now() < end);
            (calls, connects.join().expect("no thread panics"))
        })
    }

    fn connect(&self) -> Result<(), String> {
        match self {
            Self::Own(broker) => connect(broker),
            Self::Rival(rival) => {
                let connected = DBusPeer::connect(rival.socket(), PATIENCE);
                connected.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

impl Row {
    fn assert_good(&self, attack: Attack) {
        assert_eq!(
            [&self.calls.failed[..], &self.connects.failed].concat(),
            [""; 0],
            "{attack:?}: nobody is turned away"
        );
        assert!(self.peak_kib < 320 * 1_024, "{attack:?}: {} KiB", self.peak_kib);
        let bound = (10 * self.idle.p99()).max(Duration::from_millis(2));
        assert!(!is_strict() || self.calls.p99() <= bound, "{attack:?}: {}", self.calls);
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let both = |latencies: &Latencies| {
            let ms = |permille| latencies.within(permille).as_secs_f64() * 1_000.0;
            if latencies.is_empty() { "none".to_owned() } else { format!("{:.2}, {:.2}", ms(500), ms(990)) }
        };
        let failed = |latencies: &Latencies| latencies.failed.len();
        write!(f, "{} | {} | {} | ", both(&self.idle), both(&self.calls), failed(&self.calls))?;
        write!(f, "{} | {} | {}", both(&self.connects), failed(&self.connects), self.peak_kib.div_ceil(1_024))
    }
}

/// Those that mean the same everywhere.
const ATTACKS: [Attack; 12] = [
    Attack::Silence,
    Attack::HalfHellos,
    Attack::Connects,
    Attack::Hellos,
    Attack::Pings,
    Attack::UnreadPings,
    Attack::Denied,
    Attack::Registers,
    Attack::Waits,
    Attack::Announces,
    Attack::LateGarbage,
    Attack::Descriptors,
];
/// The attacker's connections: fewer than any of the brokers lets one user have.
const CONNECTIONS: usize = 200;
/// How long each measurement takes.
const SECONDS: f64 = 0.2;
/// How long root waits to be let in.
const PATIENCE: Duration = Duration::from_secs(2);
