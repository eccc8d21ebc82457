//! One run of a bench: starts brokers, services and clients, and collects what the clients measured.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde::Serialize;

use super::{
    contender::{Broker, Contender, Place, Tools},
    load::Budget,
    machine::resident_kib,
    metric::Metric,
    outcome::Outcome,
    process::{Placement, Process, again},
    role::{Side, Task, idle_connection},
    syscalls::{Strace, Syscalls},
};

/// The settings that all contenders of a run share.
#[derive(Debug)]
pub struct Stage {
    /// The measured programs.
    pub tools: Tools,
    /// The CPUs that processes run on.
    pub placement: Placement,
    /// Time for which a metric is measured.
    pub time: Duration,
    directory: tempfile::TempDir,
}

/// A broker with its service.
#[derive(Debug)]
pub struct Scene {
    contender: Contender,
    broker: Broker,
    service: Process,
    /// The client's end, if there is no broker.
    client_end: Option<UnixStream>,
    /// Contains the broker's socket.
    _directory: tempfile::TempDir,
}

/// The memory of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Resident memory without connections, in KiB.
    pub idle_kib: u64,
    /// Resident memory that one connection adds after its hello, in KiB.
    pub connection_kib: f64,
}

impl Memory {
    /// [`Memory::idle_kib`] as a figure.
    #[must_use]
    pub fn idle(&self) -> f64 {
        f64::from(u32::try_from(self.idle_kib).unwrap_or(u32::MAX))
    }
}

impl Stage {
    /// A stage for measurements with these settings.
    pub fn new(tools: Tools, placement: Placement, time: Duration) -> io::Result<Self> {
        Ok(Self { tools, placement, time, directory: tempfile::tempdir()? })
    }

    /// Measures metrics of a contender once, with a new broker.
    pub fn measure(&self, contender: Contender, metrics: &[Metric]) -> io::Result<Vec<(Metric, Outcome)>> {
        let scene = self.scene(contender)?;
        let budget = scene.budget(self.time);
        metrics.iter().map(|metric| Ok((*metric, scene.run(*metric, &budget)?))).collect()
    }

    /// Measures the memory of a contender's broker without connections and with a thousand idle ones.
    pub fn memory(&self, contender: Contender) -> io::Result<Memory> {
        const CONNECTIONS: u32 = 1_000;
        let directory = self.scene_directory()?;
        let broker = contender.start(directory.path(), &self.tools, self.placement)?;
        let pid = broker.process.as_ref().map(Process::pid).ok_or(io::ErrorKind::NotFound)?;
        let idle_kib = resident_kib(pid)?;
        let connections: Vec<OwnedFd> = (0..CONNECTIONS)
            .map(|number| idle_connection(contender, &broker.place, number))
            .collect::<io::Result<_>>()?;
        contender.wait_for_last(&connections)?;
        let grown_kib = resident_kib(pid)?.saturating_sub(idle_kib);
        drop(connections);
        let grown_kib = f64::from(u32::try_from(grown_kib).expect("less than 4 TiB"));
        Ok(Memory { idle_kib, connection_kib: grown_kib / f64::from(CONNECTIONS) })
    }

    /// Counts the system calls of a contender's broker per round trip; `None` if it cannot be traced here.
    pub fn syscalls(&self, contender: Contender, metric: Metric) -> io::Result<Option<Syscalls>> {
        let scene = self.scene(contender)?;
        let Some(broker) = scene.broker.process.as_ref().map(Process::pid) else { return Ok(None) };
        // The cost of connecting is in both counts, so that the difference is that of calls alone.
        let count = |calls: u64| -> io::Result<Option<Syscalls>> {
            let Some(strace) = Strace::attach(broker, self.directory.path())? else { return Ok(None) };
            scene.run(metric, &Budget { calls: Some(calls), ..scene.budget(self.time) })?;
            strace.finish().map(Some)
        };
        let (Some(few), Some(many)) = (count(SYSCALL_ROUNDS)?, count(3 * SYSCALL_ROUNDS)?) else { return Ok(None) };
        Ok(Some(many.minus(&few).per(2 * SYSCALL_ROUNDS)))
    }

    /// Starts a contender's broker and service.
    pub fn scene(&self, contender: Contender) -> io::Result<Scene> {
        let directory = self.scene_directory()?;
        let broker = contender.start(directory.path(), &self.tools, self.placement)?;
        let (client_end, service_end) = match broker.place {
            Place::Stdin => UnixStream::pair().map(|(client, service)| (Some(client), Some(OwnedFd::from(service))))?,
            Place::Path(_) | Place::Port(_) => (None, None),
        };
        let side = Side { contender, place: broker.place.clone() };
        let mut service = Process::start(&mut again(&Task::Service(side).to_argument(), service_end)?)?;
        service.wait_ready()?;
        Ok(Scene { contender, broker, service, client_end, _directory: directory })
    }

    fn scene_directory(&self) -> io::Result<tempfile::TempDir> {
        tempfile::tempdir_in(self.directory.path())
    }
}

impl Scene {
    /// The path of the broker's unix socket, if it has one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.broker.place.path().ok()
    }

    fn budget(&self, time: Duration) -> Budget {
        let broker = self.broker.process.as_ref().map(Process::pid);
        Budget { time, calls: None, broker, service: Some(self.service.pid()) }
    }

    fn run(&self, metric: Metric, budget: &Budget) -> io::Result<Outcome> {
        let side = Side { contender: self.contender, place: self.broker.place.clone() };
        let stdin = self.client_end.as_ref().map(|socket| socket.try_clone().map(OwnedFd::from)).transpose()?;
        let subscriber = |_| {
            let role = Task::Subscriber(side.clone()).to_argument();
            let mut process = Process::start(&mut again(&role, None)?)?;
            process.wait_ready()?;
            Ok(process)
        };
        let others = (1..metric.subscribers()).map(subscriber).collect::<io::Result<Vec<_>>>()?;
        let role = Task::Client(side, metric, budget.clone()).to_argument();
        let printed = Process::start(again(&role, stdin)?.stdout(Stdio::piped()))?.finish()?;
        drop(others);
        Ok(serde_json::from_str(&printed)?)
    }
}

/// The number of calls in the shorter of two traced runs.
const SYSCALL_ROUNDS: u64 = 1_000;
