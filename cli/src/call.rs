//! Calls of one target, each watched over for signals.

use std::{
    ops::ControlFlow,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ipc_client::{Client, Encoding, Error, ErrorCode, PendingBytes, Request, Response, Target};
use nix::sys::signal::Signal;

use crate::{
    body::{self, Body},
    duration,
    exit::Exit,
    globals::Globals,
    problem::{Problem, Result},
    signals::Signals,
};

/// What every call of one command line has in common.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    /// Where it goes.
    pub(crate) target: Target,
    /// How it is named in error lines.
    pub(crate) subject: String,
    /// Encoding asked for.
    pub(crate) encoding: Option<Encoding>,
    /// Whether the exit code is the application's own.
    pub(crate) propagate: bool,
    /// How a member that is a string is written as a number, if one looks like it.
    pub(crate) numeral: Option<String>,
    /// How long an answer is waited for, and how much is said.
    pub(crate) globals: &'a Globals,
}

impl Template<'_> {
    /// A call with this body.
    pub(crate) fn request(&self, body: Body) -> Request {
        let request = Request::new(self.target.clone(), body.bytes).encoding(body.encoding);
        match self.globals.timeout() {
            Some(time) => request.timeout(time),
            None => request,
        }
    }

    /// Calls and waits. SIGINT, SIGTERM and SIGHUP cancel the call, so that the service stops working for nothing.
    pub(crate) fn call(&self, client: &Client, request: Request) -> Result<Response> {
        self.globals.say(|| {
            let (len, encoding) = (request.body.len(), request.encoding);
            let time = self.globals.timeout().map(|time| format!(", for up to {}", duration::display(time)));
            format!("calling {} with {}{}", self.subject, body::display(len, encoding), time.unwrap_or_default())
        });
        let began = Instant::now();
        let pending = client.start_bytes(request).map_err(|error| self.problem(&error))?;
        let response = self.finish(pending)?;
        self.globals.say(|| {
            let (len, encoding) = (response.body.len(), response.encoding);
            let took = duration::display(began.elapsed());
            format!("{} answered in {took} with {}", self.subject, body::display(len, encoding))
        });
        Ok(response)
    }

    /// Most calls are over before anyone can press a key, so nothing about signals is set up until one has taken a while: a signal
    /// that arrives before ends the process, which cancels the call as well.
    fn finish(&self, pending: PendingBytes) -> Result<Response> {
        let pending = match pending.wait_for(A_WHILE) {
            ControlFlow::Break(outcome) => return outcome.map_err(|error| self.problem(&error)),
            ControlFlow::Continue(pending) => pending,
        };
        // The call is under way: a process that is short of descriptors waits for the answer all the same.
        let Ok(signals) = Signals::hold(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]) else {
            return pending.wait().map_err(|error| self.problem(&error));
        };
        let outcome = pending.wait_or_interrupt(signals.as_fd());
        outcome.map_err(|error| {
            let problem = self.problem(&error);
            match signals.take().filter(|_| error.code() == ErrorCode::CANCELLED) {
                Some(arrived) => problem.interrupted(Exit::Signal(arrived.signal)),
                None => problem,
            }
        })
    }

    /// What a call ended with.
    pub(crate) fn problem(&self, error: &Error) -> Problem {
        let problem = Problem::of_call(&self.subject, &self.globals.explained(error.clone()));
        let problem = match (error.code(), &self.target, &self.numeral) {
            (ErrorCode::NO_SERVICE, Target::Name(_), _) => {
                problem.hint("see 'ipcctl list', or wait for it with --wait")
            }
            (ErrorCode::INVALID, _, Some(numeral)) => {
                problem.hint(format!("= makes a string; did you mean {numeral}?"))
            }
            _ => problem,
        };
        if self.propagate { problem.propagate() } else { problem }
    }
}

/// How long a call may take before it is watched over for signals.
const A_WHILE: Duration = Duration::from_millis(10);
