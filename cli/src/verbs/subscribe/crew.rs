//! Commands that take events (`--exec`): one process an event, a few at once.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    process::ExitStatus,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use ipc_client::{Bell, Encoding, Event, TopicName};

use crate::{
    child::{
        group::{Stderr, Stdout, Surroundings},
        guard::Guard,
        job::{Bounds, Finished, Job},
        log::Log,
        recipe::Recipe,
        trace, verdict,
    },
    program::Program,
    term::reason,
};

/// Runs the command, on a thread for each event that is being taken.
pub(super) struct Crew {
    plan: Arc<Plan>,
    most: usize,
    running: usize,
    reports: (Sender<Report>, Receiver<Report>),
}

struct Plan {
    program: Program,
    surroundings: Surroundings,
    /// Rings when a command has ended.
    ended: Bell,
    /// Ends them all.
    quit: Bell,
}

/// A command that didn't take its event well.
pub(super) struct Report {
    pub(super) topic: TopicName,
    /// What went wrong, in words; nothing if all was well.
    pub(super) complaint: Option<String>,
}

impl Crew {
    /// For `jobs` commands at once.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn new(program: Program, jobs: u16, stderr: Stderr) -> io::Result<Self> {
        let surroundings = Surroundings { stdout: Stdout::Inherit, stderr, guard: Guard::start() };
        let plan = Plan { program, surroundings, ended: Bell::new()?, quit: Bell::new()? };
        Ok(Self { plan: Arc::new(plan), most: usize::from(jobs), running: 0, reports: mpsc::channel() })
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.most
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// Has a command take an event.
    ///
    /// # Errors
    /// There are no threads left: no command takes it.
    pub(super) fn start(&mut self, event: Event) -> io::Result<()> {
        let (plan, reports) = (self.plan.clone(), self.reports.0.clone());
        thread::Builder::new().spawn(move || {
            let complaint = plan.run(&event);
            let _ = reports.send(Report { topic: event.topic, complaint }); // fails once no one reads it
            plan.ended.ring();
        })?;
        self.running += 1;
        Ok(())
    }

    /// Readable when a command has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.plan.ended.as_fd()
    }

    /// The commands that have ended.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        self.plan.ended.silence();
        let reports: Vec<Report> = self.reports.1.try_iter().collect();
        self.running -= reports.len();
        reports
    }

    /// Ends those that run: TERM, and half a second later KILL.
    pub(super) fn quit(&self) {
        self.plan.quit.ring();
    }
}

/// Kills what is left.
impl Drop for Crew {
    fn drop(&mut self) {
        self.plan.surroundings.guard.end();
    }
}

impl Plan {
    fn run(&self, event: &Event) -> Option<String> {
        let mut recipe = self.program.recipe();
        describe(&mut recipe, event);
        let cannot = |what: &dyn std::fmt::Display| Some(format!("cannot run {}: {what}", self.program.name()));
        let job = match Job::start_in(&self.surroundings, recipe, &event.body, Log::Drop) {
            Ok(job) => job,
            Err(error) => return cannot(&error),
        };
        match job.finish(&Bounds { cancel: &self.quit, quit: &self.quit, until: None }) {
            Ok(Finished { stop: Some(_), .. }) => None, // we were asked to end, and so was it
            Ok(Finished { status, .. }) => complaint(status),
            Err(error) => cannot(&reason(&error)),
        }
    }
}

fn complaint(status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("the command {}", verdict::describe(status)))
}

/// What the command learns from its environment; never any part of the body. All variables but the last are always set, so that
/// `set -u` works: an empty one is unknown.
fn describe(recipe: &mut Recipe, event: &Event) {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let identity = event.publisher.as_deref().map(|publisher| &publisher.identity);
    recipe
        .set("IPC_TOPIC", event.topic.as_str())
        .set("IPC_ENCODING", if event.encoding == Encoding::JSON { "json" } else { "bytes" })
        .set("IPC_SEQUENCE", number(event.sequence))
        .set("IPC_RETAINED", if event.retained { "1" } else { "" })
        .set("IPC_PUBLISHER_UID", number(identity.map(|identity| identity.uid.into())))
        .set("IPC_PUBLISHER_GID", number(identity.map(|identity| identity.gid.into())))
        .set("IPC_PUBLISHER_PID", number(identity.and_then(|identity| identity.pid).map(u64::from)));
    trace::pass(recipe, event.trace.as_deref());
}
