//! One run of the command for each call.

use std::{
    io,
    time::{Duration, Instant},
};

use ipc_client::{Context, Encoding, ErrorCode, Failed, Incoming, Response};

use crate::{
    child::{
        bell::Bell,
        group::StartError,
        job::{Bounds, Job},
        log::Log,
        verdict,
    },
    program::Program,
    verbs::serve::environment,
};

/// Answers each call by a run of the command.
pub(crate) struct Once {
    pub(crate) program: Program,
    pub(crate) timeout: Option<Duration>,
    pub(crate) log: Log,
    pub(crate) quit: Bell,
}

impl Once {
    /// Answers a call. Returns when the command and all of its process group are gone.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        check_encoding(incoming.encoding)?;
        let cancel = cancel_bell(context)?;
        let mut recipe = self.program.recipe();
        environment::of_call(&mut recipe, incoming, context);
        let bounds = Bounds { cancel: &cancel, quit: &self.quit, until: until(incoming, context, self.timeout) };
        let job = Job::start(recipe, &incoming.body, self.log).map_err(|error| cannot_start(&self.program, &error))?;
        let finished = job.finish(&bounds).map_err(|error| internal(&error))?;
        verdict::of(finished, incoming.encoding)
    }
}

/// A command reads bytes and JSON. Rust callers send bincode first and hear what to send instead.
pub(crate) fn check_encoding(encoding: Encoding) -> Result<(), Failed> {
    match encoding {
        Encoding::BYTES | Encoding::JSON => Ok(()),
        other => {
            let text = format!("this service is a command, which takes bytes and json, not {other}");
            Err(Failed::new(ErrorCode::UNSUPPORTED_ENCODING, text))
        }
    }
}

/// A bell that rings when nobody waits for the call any more.
pub(crate) fn cancel_bell(context: &Context) -> Result<Bell, Failed> {
    let bell = Bell::new().map_err(|error| out_of_resources(&error))?;
    let ringer = bell.clone();
    context.cancel().on_cancel(move |_| ringer.ring());
    Ok(bell)
}

/// When a call is over: at its deadline and after `--timeout`, whichever is first. Nobody waits for a call that is one way, so only
/// `--timeout` bounds it.
pub(crate) fn until(incoming: &Incoming, context: &Context, timeout: Option<Duration>) -> Option<Instant> {
    let deadline = (!incoming.one_way).then(|| context.deadline());
    let timeout = timeout.map(|timeout| Instant::now() + timeout);
    deadline.into_iter().chain(timeout).min()
}

/// A command that was there when the service started and cannot be started now is being replaced, or the host is short of
/// something. The call has not run then, and `busy` says so.
fn cannot_start(program: &Program, error: &StartError) -> Failed {
    let code = match error {
        StartError::Pipes(_) | StartError::NotStarted(_) => ErrorCode::BUSY,
        StartError::Killed(_) => ErrorCode::INTERNAL,
    };
    Failed::new(code, format!("the service cannot run {} now: {error}", program.name()))
}

fn out_of_resources(error: &io::Error) -> Failed {
    Failed::new(ErrorCode::BUSY, format!("the service cannot take a call now: {error}"))
}

fn internal(error: &io::Error) -> Failed {
    Failed::new(ErrorCode::INTERNAL, format!("cannot talk to the command: {error}"))
}
