//! Answers by one run of the command for each call.

use std::{
    io,
    time::{Duration, Instant},
};

use ipc_client::{Bell, Context, Encoding, ErrorCode, Failed, Incoming, Response};

use crate::{
    child::{
        group::StartError,
        guard::Guard,
        job::{Bounds, Job},
        log::Log,
        verdict::{self, ExitCodes},
    },
    program::Program,
    term::reason,
    verbs::serve::environment,
};

/// What to run, and how.
pub(crate) struct Once {
    pub(crate) program: Program,
    pub(crate) timeout: Option<Duration>,
    pub(crate) codes: ExitCodes,
    pub(crate) log: Log,
    pub(crate) quit: Bell,
    pub(crate) guard: Guard,
}

impl Once {
    /// Answers a call. Returns when the command's whole process group is gone.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        check_encoding(incoming.encoding)?;
        let cancel = cancel_bell(context)?;
        let until = until(incoming, context, self.timeout);
        let mut recipe = self.program.recipe();
        environment::of_call(&mut recipe, incoming, context.caller(), until);
        let bounds = Bounds { cancel: &cancel, quit: &self.quit, until };
        let job = Job::start(recipe, &incoming.body, &self.guard, self.log)
            .map_err(|error| cannot_start(&self.program, &error))?;
        let finished = job.finish(&bounds).map_err(|error| internal(&error))?;
        verdict::of(finished, incoming.encoding, self.codes)
    }
}

/// A command reads bytes and JSON. A Rust caller sends bincode first, and JSON once it is refused.
pub(crate) fn check_encoding(encoding: Encoding) -> Result<(), Failed> {
    match encoding {
        Encoding::BYTES | Encoding::JSON => Ok(()),
        other => {
            let text = format!("this service is a command, which takes bytes and json, not {other}");
            Err(Failed::new(ErrorCode::UNSUPPORTED_ENCODING, text))
        }
    }
}

/// A bell that rings when the caller stops waiting.
pub(crate) fn cancel_bell(context: &Context) -> Result<Bell, Failed> {
    let bell = Bell::new().map_err(|error| out_of_resources(&error))?;
    let ringer = bell.clone();
    context.cancel().on_cancel(move |_| ringer.ring());
    Ok(bell)
}

/// When a call ends: at its deadline or after `--timeout`, whichever comes first. A one-way call has no caller that waits, so only
/// `--timeout` counts. A time beyond the clock's range is no limit.
pub(crate) fn until(incoming: &Incoming, context: &Context, timeout: Option<Duration>) -> Option<Instant> {
    let deadline = (!incoming.one_way).then(|| context.deadline());
    let timeout = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    deadline.into_iter().chain(timeout).min()
}

/// The command was there when the service started: now it is being replaced, or the host is short of something. The call hasn't
/// run, and `busy` says so.
pub(super) fn cannot_start(program: &Program, error: &StartError) -> Failed {
    let code = match error {
        StartError::Pipes(_) | StartError::NotStarted(_) => ErrorCode::BUSY,
        StartError::Killed(_) => ErrorCode::INTERNAL,
    };
    Failed::new(code, format!("the service cannot run {} now: {error}", program.name()))
}

fn out_of_resources(error: &io::Error) -> Failed {
    Failed::new(ErrorCode::BUSY, format!("the service cannot take a call now: {}", reason(error)))
}

pub(super) fn internal(error: &io::Error) -> Failed {
    Failed::new(ErrorCode::INTERNAL, format!("cannot talk to the command: {}", reason(error)))
}
