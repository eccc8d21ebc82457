//! Answers by commands that stay, one for each job: for each call a line goes in and a line comes out.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ipc_client::{Bell, Context, Encoding, ErrorCode, Failed, Incoming, Response};

use crate::{
    child::{
        group::{Stderr, Stdout, Surroundings},
        guard::Guard,
        keeper::{Keeper, Standing},
        log::Log,
        verdict,
        worker::Order,
    },
    json,
    program::Program,
    verbs::serve::{environment, journal::Journal, once},
};

/// The workers.
pub(crate) struct Lines {
    count: u16,
    timeout: Option<Duration>,
    idle: Mutex<Vec<Keeper>>,
    returned: Condvar,
}

/// How to start the workers.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) program: Program,
    /// The name that they answer for.
    pub(crate) service: &'a str,
    /// The time for a line.
    pub(crate) timeout: Option<Duration>,
    pub(crate) log: Log,
    pub(crate) journal: &'a Arc<Journal>,
    /// Ends them.
    pub(crate) quit: &'a Bell,
    /// Ends them if we are killed.
    pub(crate) guard: &'a Guard,
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
        let surroundings = Surroundings { stdout: Stdout::Pipe, stderr, guard: self.guard.clone() };
        Keeper::start(Standing { recipe: Box::new(recipe), surroundings }, self.quit.clone())
    }
}

impl Lines {
    /// Starts the workers, or as many as there are threads for.
    pub(crate) fn start(plan: &Plan<'_>, jobs: u16) -> io::Result<Self> {
        let mut idle = vec![plan.keeper()?];
        idle.extend((1..jobs).map_while(|_| plan.keeper().ok()));
        let count = u16::try_from(idle.len()).unwrap_or(jobs);
        Ok(Self { count, timeout: plan.timeout, idle: Mutex::new(idle), returned: Condvar::new() })
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Answers a call.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        once::check_encoding(incoming.encoding)?;
        let line = one_line(incoming)?;
        let cancel = once::cancel_bell(context)?;
        let keeper = self.borrow();
        let until = once::until(incoming, context, self.timeout).map(a_little_before);
        let answer = keeper.order(Order { line, cancel, until });
        self.give_back(keeper);
        answer.map(|line| verdict::reply(line.into(), incoming.encoding))
    }

    /// Waits until the workers have ended. The bell that ends them must have been rung, and none may be in use.
    pub(crate) fn join(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.into_iter().for_each(Keeper::join);
    }

    /// There are as many workers as calls at once, so this waits only for one whose call was just cancelled.
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

/// Early enough to give the error ourselves: the broker knows only that the deadline has passed, not why.
fn a_little_before(until: Instant) -> Instant {
    let left = until.saturating_duration_since(Instant::now());
    until.checked_sub(LEAD.min(left / 10)).unwrap_or(until)
}

/// The body as one line. One line break may end it; another would make it two calls. JSON is put on one line.
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

/// How long before the deadline a worker must answer, or a tenth of the time if that is less.
const LEAD: Duration = Duration::from_millis(100);
