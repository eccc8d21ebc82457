//! Waiting until names are offered, or gone, or until there is a broker at all.

use std::{
    thread,
    time::{Duration, Instant},
};

use ipc_client::{
    Client, Connect, Encoding, Error, ErrorCode, PendingBytes, Request, Retry, ServiceName, Target, control,
};

use crate::{
    duration,
    globals::Globals,
    problem::{Problem, Result},
};

/// How often a broker that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a broker that accepts no connections is given before it is looked for again.
const ACCEPTANCE: Duration = Duration::from_secs(5);

/// A time in which something has to come true at the broker.
#[derive(Debug)]
pub(crate) struct Vigil {
    dial: Connect,
    until: Instant,
    /// Whether a broker that goes away is looked for again.
    is_redialled: bool,
}

/// Why the wait has ended without it.
#[derive(Debug)]
pub(crate) enum GaveUp {
    /// The broker is there, and says that this has not happened.
    NotYet(ServiceName),
    /// Something listens at the broker's address and doesn't answer.
    Silent,
    /// Anything else.
    Failed(Error),
}

impl Vigil {
    /// Starts the clock. `verb` is what the list of peers shows.
    pub(crate) fn begin(globals: &Globals, verb: &str, patience: Duration) -> Result<Self> {
        let until = Instant::now() + patience;
        Ok(Self { dial: globals.dial(verb)?, until, is_redialled: !globals.is_inherited() })
    }

    /// Waits for a broker that answers.
    pub(crate) fn broker(&self) -> std::result::Result<Client, GaveUp> {
        let client = self.connect()?;
        self.repeat(|left| client.control("ping", &control::Empty {}, Some(left)))?;
        Ok(client)
    }

    /// Waits until all of `wanted` hold, at the same time.
    pub(crate) fn names(&self, wanted: &[control::Wait]) -> std::result::Result<Client, GaveUp> {
        let client = self.connect()?;
        loop {
            for each in wanted {
                self.one(&client, each)?;
            }
            // While one was waited for, another may have changed again.
            if wanted.len() < 2 || hold_now(&client, wanted) {
                return Ok(client);
            }
        }
    }

    /// The broker cuts each wait to the longest call it allows, so it is asked again until the time is up.
    fn one(&self, client: &Client, wanted: &control::Wait) -> std::result::Result<(), GaveUp> {
        loop {
            match self.repeat(|left| client.control("wait", wanted, Some(left))) {
                Ok(()) => return Ok(()),
                Err(GaveUp::Failed(error)) if error.code() == ErrorCode::DEADLINE => {
                    if self.left().is_zero() {
                        return Err(GaveUp::NotYet(wanted.name.clone()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks, again and again while the broker is away.
    fn repeat(
        &self,
        ask: impl Fn(Duration) -> std::result::Result<control::Empty, Error>,
    ) -> std::result::Result<(), GaveUp> {
        loop {
            let error = match ask(self.left()) {
                Ok(control::Empty {}) => return Ok(()),
                Err(error) => error,
            };
            match error.code() {
                // The broker says itself that a time is over, and that nothing has run; the library only gives up.
                ErrorCode::DEADLINE if error.retry() == Retry::Unknown => return Err(GaveUp::Silent),
                ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST if self.is_redialled => self.pause(error)?,
                _ => return Err(GaveUp::Failed(error)),
            }
        }
    }

    fn connect(&self) -> std::result::Result<Client, GaveUp> {
        loop {
            match self.dial.clone().patience(self.left().min(ACCEPTANCE)).connect() {
                Ok(client) => return Ok(client),
                Err(error) if error.code() == ErrorCode::UNAVAILABLE => self.pause(error)?,
                Err(error) => return Err(GaveUp::Failed(error)),
            }
        }
    }

    fn pause(&self, error: Error) -> std::result::Result<(), GaveUp> {
        let left = self.left();
        if left.is_zero() {
            return Err(GaveUp::Failed(error));
        }
        thread::sleep(LOOK_AGAIN.min(left));
        Ok(())
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Whether all of `wanted` hold at this moment. They are asked together with the shortest deadline there is, which ends those that
/// don't hold. Whatever else goes wrong here goes wrong again for the next wait, which reports it.
fn hold_now(client: &Client, wanted: &[control::Wait]) -> bool {
    let corked = client.cork();
    let asked: Vec<_> = wanted.iter().map(|wait| client.start_bytes(question(wait))).collect();
    drop(corked);
    asked.into_iter().all(|pending| pending.and_then(PendingBytes::wait).is_ok())
}

fn question(wait: &control::Wait) -> Request {
    let target: Target = control::SERVICE.parse().expect("the broker's own service is a target");
    let method = "wait".parse().expect("a constant that is a method's name");
    let body = serde_json::to_vec(wait).expect("a name and two flags always serialize");
    Request::new(target, body).method(method).encoding(Encoding::JSON).timeout(Duration::from_millis(1))
}

/// The error when a broker doesn't answer.
pub(crate) fn silent(subject: &str, globals: &Globals, patience: Duration) -> Problem {
    let message = format!("the broker at {} has not answered within {}", globals.place(), duration::display(patience));
    Problem::new(ErrorCode::UNAVAILABLE, subject, message).hint("is it stopped, or overloaded?")
}
