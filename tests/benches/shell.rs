//! Measures one request of a shell script, from fork to the command's exit: `ipcctl send` beside `true`, a static C client that
//! only makes the call, and the commands of other brokers if they are installed. Each run prints one table.
#![forbid(unsafe_code)]

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Parser;
use ipc_tests::bench::{
    Contender, Machine, Placement, Process, Role, Scene, ShellCommand, ShellTimes, Stage, Table, Tools, find_program,
    median,
};
use serde::Serialize;

/// Measures commands side by side.
#[derive(Parser)]
struct Options {
    /// Measure one short round, to see whether everything works.
    #[arg(long)]
    quick: bool,
    /// The number of rounds. Commands alternate.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The number of runs of each command in a round. The table shows medians of all runs.
    #[arg(long, default_value_t = 200)]
    runs: u32,
    /// Print one JSON document with every run instead of the table.
    #[arg(long)]
    json: bool,
    /// Run everything on this CPU.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Let the scheduler choose CPUs.
    #[arg(long)]
    unpinned: bool,
    /// The daemon, instead of the one that cargo builds.
    #[arg(long)]
    ipcd: Option<PathBuf>,
    /// The command-line tool, instead of the one that cargo builds. May be repeated, to compare builds.
    #[arg(long)]
    ipcctl: Vec<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The results of a run.
#[derive(Serialize)]
struct Run {
    machine: Machine,
    placement: String,
    commands: Vec<Line>,
    skipped: Vec<&'static str>,
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    title: String,
    #[serde(flatten)]
    times: ShellTimes,
}

/// The brokers that the commands connect to.
struct Brokers {
    relay: Scene,
    ipcd: Scene,
    dbus: Option<Dbus>,
}

/// A message bus, which answers the bench's call itself: the least that its command has to wait for.
struct Dbus {
    _daemon: Process,
    address: String,
}

fn main() -> io::Result<()> {
    if let Some(role) = Role::of_this_process() {
        return role.play();
    }
    let options = Options::parse();
    let run = options.run()?;
    if options.json {
        println!("{}", serde_json::to_string(&run)?);
    } else {
        run.print();
    }
    Ok(())
}

impl Options {
    fn run(&self) -> io::Result<Run> {
        let tools = Tools::find(self.ipcd.clone(), Vec::new())?;
        let ipcctl = if self.ipcctl.is_empty() { Tools::ipcctl()? } else { self.ipcctl.clone() };
        let placement = if self.unpinned { Placement::Free } else { Placement::One(self.cpu) };
        placement.enter()?;
        let directory = tempfile::tempdir()?;
        let stage = Stage::new(tools, placement, Duration::ZERO)?;
        let mut skipped = Vec::new();
        let dbus = Dbus::start(directory.path())?;
        let brokers = Brokers { relay: stage.scene(Contender::Floor)?, ipcd: stage.scene(Contender::Ipcd)?, dbus };
        let client = build_c_client(directory.path())?;
        if client.is_none() {
            skipped.push("cc -static: no static C client");
        }
        if brokers.dbus.is_none() {
            skipped.push("dbus-send: not installed");
        }
        let commands = brokers.commands(client.as_deref(), &ipcctl);
        let mut times = vec![ShellTimes::default(); commands.len()];
        let (rounds, runs) = if self.quick { (1, 10) } else { (self.rounds, self.runs) };
        for _ in 0..rounds {
            for (command, times) in commands.iter().zip(&mut times) {
                command.time(runs, times)?;
            }
        }
        let commands = commands.into_iter().zip(times).map(|(command, times)| Line { title: command.title, times });
        Ok(Run { machine: Machine::this(), placement: placement.to_string(), commands: commands.collect(), skipped })
    }
}

impl Brokers {
    fn commands(&self, client: Option<&Path>, ipcctl: &[PathBuf]) -> Vec<ShellCommand> {
        let socket = |scene: &Scene| scene.socket().map(|path| path.display().to_string()).unwrap_or_default();
        let (relay, ipcd) = (socket(&self.relay), socket(&self.ipcd));
        let mut commands = vec![ShellCommand::new("true", Path::new("true"), &[])];
        if let Some(client) = client {
            commands.push(ShellCommand::new("static C client, ipcd", client, &["ipcd", &ipcd, "hello"]));
            commands.push(ShellCommand::new("static C client, floor relay", client, &["relay", &relay, "hello"]));
        }
        for path in ipcctl {
            let title = format!("ipcctl send ({})", build_of(path));
            commands.push(ShellCommand::new(&title, path, &["-s", &ipcd, "send", "bench.echo", "hello"]));
        }
        if let Some(dbus) = &self.dbus {
            let bus = format!("--bus={}", dbus.address);
            let call = ["--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetId"];
            let arguments = [&[bus.as_str()], &call[..]].concat();
            commands.push(ShellCommand::new("dbus-send --print-reply", Path::new("dbus-send"), &arguments));
        }
        commands
    }
}

impl Dbus {
    fn start(directory: &Path) -> io::Result<Option<Self>> {
        let (Some(daemon), Some(_)) = (find_program("dbus-daemon"), find_program("dbus-send")) else { return Ok(None) };
        let address = format!("unix:path={}", directory.join("bus").display());
        let mut command = Command::new(daemon);
        command.args(["--session", "--nofork", "--nopidfile", "--print-address", "--address", &address]);
        let mut daemon = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
        daemon.wait_ready()?;
        Ok(Some(Self { _daemon: daemon, address }))
    }
}

impl Run {
    fn print(&self) {
        println!("{}, {}; {}\n", self.machine.cpu, self.machine.kernel, self.placement);
        let base = self.commands.iter().find(|line| line.title == "static C client, ipcd").and_then(Line::p50);
        let mut table = Table::new(["command", "p50 ms", "x static C", "CPU ms"]);
        for line in &self.commands {
            let ratio = line.p50().zip(base).map(|(p50, base)| p50 / base);
            let cpu = median(line.times.cpu_ms.clone());
            table.push([line.title.clone(), figure(line.p50(), 3), figure(ratio, 2), figure(cpu, 3)]);
        }
        println!("{table}");
        self.skipped.iter().for_each(|reason| println!("SKIP {reason}"));
    }
}

impl Line {
    fn p50(&self) -> Option<f64> {
        median(self.times.wall_ms.clone())
    }
}

fn figure(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// The profile that a program was built with, if its path shows it.
fn build_of(path: &Path) -> String {
    let profile = path.parent().and_then(Path::file_name).unwrap_or_default();
    profile.display().to_string()
}

/// Builds the C client; `None` without a compiler or a static libc.
fn build_c_client(directory: &Path) -> io::Result<Option<PathBuf>> {
    let Some(cc) = find_program("cc") else { return Ok(None) };
    let client = directory.join("client");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/client.c");
    let mut command = Command::new(cc);
    command.args(["-O2", "-static", "-Wall", "-Wextra", "-o"]).arg(&client).arg(source);
    let output = command.stdin(Stdio::null()).output()?;
    output.stderr.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"));
    Ok(output.status.success().then_some(client))
}
