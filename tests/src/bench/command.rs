//! The cost of one short command from fork to exit, which is what a shell script pays.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde::Serialize;

/// A command to be measured.
#[derive(Clone, Debug)]
pub struct ShellCommand {
    /// Its title in the table.
    pub title: String,
    words: Vec<String>,
}

/// Times of many runs of a command.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShellTimes {
    /// The duration of each run, from fork to exit, in milliseconds.
    pub wall_ms: Vec<f64>,
    /// User and system CPU time per run, in milliseconds, one figure a round: that of the bench's children, from getrusage(2).
    pub cpu_ms: Vec<f64>,
}

impl ShellCommand {
    /// A program with its arguments, under a title.
    #[must_use]
    pub fn new(title: &str, program: &Path, arguments: &[&str]) -> Self {
        let words =
            std::iter::once(program.display().to_string()).chain(arguments.iter().map(|word| (*word).to_owned()));
        Self { title: title.to_owned(), words: words.collect() }
    }

    /// Runs it `count` times, one after another.
    pub fn time(&self, runs: u32, times: &mut ShellTimes) -> io::Result<()> {
        let before = children_cpu()?;
        for _ in 0..runs {
            let started = Instant::now();
            let status = self.command().spawn()?.wait()?;
            times.wall_ms.push(started.elapsed().as_secs_f64() * 1e3);
            if !status.success() {
                return Err(io::Error::other(format!("{}: {status}", self.words.join(" "))));
            }
        }
        times.cpu_ms.push((children_cpu()? - before).as_secs_f64() * 1e3 / f64::from(runs));
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn children_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or_default()))
}
