//! A broker under an attack that goes on: the bystanders' calls are timed meanwhile, and afterwards nothing may be left.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    broker::Broker,
    bystander::{Bystander, Latencies},
    eventually::within,
    proc,
    scene::Scene,
};

/// A broker with bystanders, one of which calls at a steady rate while it is attacked.
#[derive(Debug)]
pub struct Siege {
    scene: Scene,
    bystander: Bystander,
    idle: Latencies,
    resident_kib: u64,
}

impl Siege {
    /// Starts a broker with default limits, and measures its bystander while nothing else happens.
    #[must_use]
    pub fn lay() -> Self {
        Self::with_config("")
    }

    /// The same with a configuration.
    #[must_use]
    pub fn with_config(toml: &str) -> Self {
        Self::at(Broker::in_process(toml))
    }

    /// The same with a broker, which must be a process.
    #[must_use]
    pub fn at(broker: Broker) -> Self {
        let mut bystander = Bystander::start(broker.socket(), "steady");
        bystander.call_while(|calls| calls < CALLS / 4); // caches and pages are warm from here on
        let idle = bystander.call_while(|calls| calls < CALLS);
        let mut scene = Scene::at(broker);
        let resident_kib = proc::resident_kib(scene.broker.daemon().expect("a process").pid());
        Self { scene, bystander, idle, resident_kib }
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.scene.broker
    }

    /// The process id of the broker.
    #[must_use]
    pub fn pid(&mut self) -> u32 {
        self.scene.broker.daemon().expect("a process").pid()
    }

    /// Repeats an attack, which must end by itself, and asserts that all of the bystander's calls are answered in time meanwhile:
    /// at least 200, and for at least one whole attack. A measurement that fails is made once more, because others use the machine.
    #[track_caller]
    pub fn endure(&mut self, mut attack: impl FnMut(&Broker) + Send) {
        let first = self.measure(&mut attack);
        let calls = if first.p99() <= self.bound() { first } else { self.measure(&mut attack) };
        assert!(calls.p99() <= self.bound(), "attacked {calls}\n    idle {}", self.idle);
    }

    /// Asserts, once all attackers have left, that nothing of theirs remains: no table entry, byte or descriptor, and that the broker
    /// is about as small as before: 8 MiB more at most with `IPCD_STRICT=1`, else 64.
    #[track_caller]
    pub fn lift(mut self) {
        let pid = self.pid();
        self.scene.nothing_is_left();
        let most = self.resident_kib + if is_strict() { 8 } else { 64 } * 1_024;
        let is_small = || proc::resident_kib(pid) <= most;
        assert!(within(SOON_SMALL, is_small), "{} KiB instead of {}", proc::resident_kib(pid), self.resident_kib);
        assert!(proc::peak_resident_kib(pid) < MOST_RESIDENT_KIB, "{} KiB at most", proc::peak_resident_kib(pid));
    }

    #[track_caller]
    fn measure(&mut self, attack: &mut (impl FnMut(&Broker) + Send)) -> Latencies {
        let (broker, bystander, rounds) = (&self.scene.broker, &mut self.bystander, AtomicUsize::new(0));
        let has_ended = std::sync::atomic::AtomicBool::new(false);
        let calls = std::thread::scope(|scope| {
            let attacker = scope.spawn(|| {
                while !has_ended.load(Ordering::Relaxed) {
                    attack(broker);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
            let goes_on = |calls| (calls < CALLS || rounds.load(Ordering::Relaxed) == 0) && !attacker.is_finished();
            let calls = bystander.call_while(goes_on);
            has_ended.store(true, Ordering::Relaxed);
            calls
        });
        assert_eq!(calls.failed, [""; 0], "every call of a bystander is answered");
        calls
    }

    /// How slow a bystander's calls may be. Other tests run on the same CPUs, so the bound of a quiet machine is for `IPCD_STRICT=1`.
    fn bound(&self) -> Duration {
        let idle = self.idle.p99();
        if is_strict() {
            (10 * idle).max(Duration::from_millis(2))
        } else {
            (50 * idle).max(Duration::from_millis(250))
        }
    }
}

/// Whether tests hold the broker to the bounds of a quiet machine.
#[must_use]
pub fn is_strict() -> bool {
    std::env::var_os("IPCD_STRICT").is_some_and(|value| value == "1")
}

/// The calls of one measurement, at least.
const CALLS: usize = 200;
/// Time in which a broker becomes small again.
const SOON_SMALL: Duration = Duration::from_secs(5);
/// The most memory that any attack may make a broker take, in KiB.
const MOST_RESIDENT_KIB: u64 = 320 * 1_024;
