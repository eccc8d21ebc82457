//! Commands that live on, one for each job: a line in and a line out for each call.

use std::{
    io,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use ipc_client::{Context, Encoding, ErrorCode, Failed, Incoming, Response};

use crate::{
    child::{
        bell::Bell,
        group::Stderr,
        log::Log,
        verdict,
        worker::{Keeper, Standing},
    },
    json,
    program::Program,
    verbs::serve::{environment, once},
};

/// Answers each call by a line from one of its workers.
pub(crate) struct Lines {
    timeout: Option<Duration>,
    idle: Mutex<Vec<Keeper>>,
    returned: Condvar,
}

/// What the workers are.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// What they run.
    pub(crate) program: Program,
    /// Whose they are.
    pub(crate) service: &'a str,
    /// How long one may take for a line.
    pub(crate) timeout: Option<Duration>,
    /// What becomes of their standard error.
    pub(crate) log: Log,
    /// What ends them.
    pub(crate) quit: &'a Bell,
}

impl Plan<'_> {
    fn keeper(&self) -> io::Result<Keeper> {
        let (program, service) = (self.program.clone(), self.service.to_owned());
        let recipe = move || {
            let mut recipe = program.recipe();
            environment::of_service(&mut recipe, &service);
            recipe
        };
        let stderr = match self.log {
            Log::Pass => Stderr::Inherit,
            Log::Drop => Stderr::Null,
        };
        Keeper::start(Standing { recipe: Box::new(recipe), stderr }, self.quit.clone())
    }
}

impl Lines {
    /// Starts the workers.
    pub(crate) fn start(plan: Plan<'_>, jobs: u16) -> io::Result<Self> {
        let idle = (0..jobs).map(|_| plan.keeper()).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { timeout: plan.timeout, idle: Mutex::new(idle), returned: Condvar::new() })
    }

    /// Answers a call.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        once::check_encoding(incoming.encoding)?;
        let line = one_line(incoming)?;
        let cancel = once::cancel_bell(context)?;
        let keeper = self.borrow();
        let answer = keeper.order(line, cancel, once::until(incoming, context, self.timeout));
        self.give_back(keeper);
        answer.map(|line| verdict::reply(line, incoming.encoding))
    }

    /// Waits for the end of the workers that nobody uses; the bell that ends them must have been rung.
    pub(crate) fn join(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.into_iter().for_each(Keeper::join);
    }

    /// There are as many workers as calls at once, so this does not wait, except for one whose call was just cancelled.
    fn borrow(&self) -> Keeper {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match idle.pop() {
                Some(keeper) => return keeper,
                None => idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn give_back(&self, keeper: Keeper) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
        self.returned.notify_one();
    }
}

/// The body as one line. A line break at its end is the line's own; one within would make it two calls. JSON is put in one line.
fn one_line(incoming: &Incoming) -> Result<Vec<u8>, Failed> {
    if incoming.encoding == Encoding::JSON {
        return Ok(json::in_one_line(&incoming.body));
    }
    let line = incoming.body.strip_suffix(b"\n").unwrap_or(&incoming.body);
    if line.contains(&b'\n') {
        return Err(Failed::new(ErrorCode::INVALID, "this service takes one line, and the body has more than one"));
    }
    Ok(line.to_vec())
}
