//! Answers by a server of the Model Context Protocol that all callers share (`--mcp`): its tools are the methods.
//!
//! ```text
//!   calls, a thread each ─► Shared ─► Keeper ─► stdin  ┌────────┐
//!                             ▲                        │ server │
//!                             └──────── Keeper ◄─stdout└────────┘
//! ```

mod greeting;
mod keeper;
mod listing;
mod news;
mod peer;
mod relisting;
mod result;
mod shared;
mod skim;
mod tools;
mod written;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipc_client::{Bell, Context, Description, Encoding, ErrorCode, Failed, Incoming, MethodName, Response, SinkBytes};
use serde_json::{Map, Value, json};

use self::{
    keeper::Keeper,
    news::News,
    shared::{Ready, Shared, Standing},
};
use super::{lines::Plan, once};
use crate::{
    child::{
        group::{Stderr, Stdout, Surroundings},
        job::Stop,
        log::Log,
        verdict,
    },
    mcp::message,
    signals::Signals,
};

/// The server.
pub(crate) struct Server {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What became of the first start.
pub(crate) enum Started {
    /// The server says this of its tools.
    Ready(Description),
    /// It can't be used: why.
    Failed(String),
    /// A signal came.
    Interrupted,
}

impl Server {
    /// Starts the server. [`Server::started`] waits for it.
    pub(crate) fn start(plan: Plan<'_>) -> io::Result<Self> {
        let stderr = if plan.log == Log::Drop { Stderr::Null } else { Stderr::Inherit };
        let surroundings = Surroundings { stdout: Stdout::Pipe, stderr, guard: plan.guard.clone() };
        let shared = Arc::new(Shared::new(Bell::new()?, Bell::new()?));
        let keeper = Keeper {
            program: plan.program,
            service: plan.service.to_owned(),
            surroundings,
            shared: shared.clone(),
            quit: plan.quit.clone(),
            journal: plan.journal.clone(),
            told: None,
        };
        let thread = thread::Builder::new().name("server".to_owned()).spawn(move || keeper.run())?;
        Ok(Self { shared, timeout: plan.timeout, thread: Mutex::new(Some(thread)) })
    }

    /// Waits for the first start. The keeper gives up on a server that doesn't answer, so this ends.
    pub(crate) fn started(&self, signals: &Signals) -> Started {
        loop {
            let is_enough = |standing: &Standing| !matches!(standing, Standing::Starting);
            match self.shared.standing(Instant::now() + GLANCE, is_enough) {
                Standing::Ready(ready) => return Started::Ready((*ready.description).clone()),
                Standing::Failing(_, fault) => return Started::Failed(format!("the server {fault}")),
                Standing::Over => return Started::Failed("the server was ended".to_owned()),
                Standing::Starting if signals.take().is_some() => return Started::Interrupted,
                Standing::Starting => {}
            }
        }
    }

    /// Readable once [`Server::description`] may say something else.
    pub(crate) fn news(&self) -> &Bell {
        self.shared.news()
    }

    /// What the server says of its tools now; none while it isn't there.
    pub(crate) fn description(&self) -> Option<Description> {
        self.shared.description().map(|description| (*description).clone())
    }

    /// Answers a call. Progress goes to `sink`, if the caller takes it.
    pub(crate) fn answer(
        &self,
        incoming: &Incoming,
        context: &Context,
        mut sink: Option<SinkBytes>,
    ) -> Result<Response, Failed> {
        once::check_encoding(incoming.encoding)?;
        let arguments = arguments(incoming)?;
        let until = once::until(incoming, context, self.timeout).unwrap_or_else(|| Instant::now() + ONE_WAY);
        let ready = self.ready(until)?;
        let name = MethodName::parse(&incoming.method).ok().and_then(|method| ready.names.get(&method)).cloned();
        let name = name.ok_or_else(|| Failed::new(ErrorCode::NO_METHOD, "the server has no such tool"))?;
        let (teller, news) = news::post();
        let canceller = teller.clone();
        context.cancel().on_cancel(move |_| canceller.tell(News::Cancelled));
        let request = |number: u64| {
            let mut meta = Map::new();
            if sink.is_some() {
                meta.insert("progressToken".to_owned(), json!(number));
            }
            meta.extend(incoming.trace.as_ref().map(|trace| ("traceparent".to_owned(), json!(trace))));
            let params = Map::from_iter([("name".to_owned(), json!(name)), ("arguments".to_owned(), arguments)]);
            message::request(number, "tools/call", ready.era.params(params, meta))
        };
        let number =
            self.shared.ask(teller, request).ok_or_else(|| Failed::busy("the server is being started again"))?;
        loop {
            match news.next(until) {
                Some(News::Progress(progress)) => {
                    let sent = |sink: &mut SinkBytes| sink.send_until(Encoding::JSON, progress, Some(until), None);
                    if sink.as_mut().is_some_and(|sink| sent(sink).is_err()) {
                        sink = None; // the call goes on, is cancelled, or is out of time
                    }
                }
                Some(News::Answer(outcome)) => return result::reply(outcome),
                Some(News::Gone(end)) => {
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("the server {end} before it answered")));
                }
                Some(News::Cancelled) => {
                    self.shared.cancel(number, "the caller waits no more");
                    return Err(verdict::of_stop(Stop::Cancelled));
                }
                None => {
                    self.shared.cancel(number, "the time is over");
                    return Err(Failed::new(ErrorCode::DEADLINE, "the tool took too long"));
                }
            }
        }
    }

    /// Waits for the end of the thread; its bell must have been rung.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.map(JoinHandle::join); // a panic there has been reported there
    }

    /// A server that is ready. One that is started soon is waited for; else the caller learns that the call has not run.
    fn ready(&self, until: Instant) -> Result<Ready, Failed> {
        let is_enough = |standing: &Standing| match standing {
            Standing::Ready(_) | Standing::Over => true,
            Standing::Failing(at, _) => *at > Instant::now() + SOON,
            Standing::Starting => false,
        };
        match self.shared.standing(until, is_enough) {
            Standing::Ready(ready) => Ok(ready),
            Standing::Failing(at, fault) => {
                let left = at.saturating_duration_since(Instant::now()).as_millis();
                Err(Failed::busy(format!("the server {fault}; it is started again in {left} ms")))
            }
            Standing::Starting => Err(Failed::busy("the server is being started")),
            Standing::Over => Err(verdict::of_stop(Stop::Quit)),
        }
    }
}

/// The arguments of a tool: a JSON object, or nothing.
fn arguments(incoming: &Incoming) -> Result<Value, Failed> {
    if matches!(incoming.body.trim_ascii(), b"" | b"null") {
        return Ok(json!({}));
    }
    match serde_json::from_slice(&incoming.body) {
        Ok(arguments @ Value::Object(_)) => Ok(arguments),
        _ => Err(Failed::invalid("a tool takes a JSON object with its arguments")),
    }
}

/// How often a signal is looked for during the first start.
const GLANCE: Duration = Duration::from_millis(50);
/// A call waits this long for the next start.
const SOON: Duration = Duration::from_secs(1);
/// How long a tool may take that no caller waits for.
const ONE_WAY: Duration = Duration::from_secs(60 * 60);
