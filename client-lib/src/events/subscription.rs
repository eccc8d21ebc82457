//! A subscription: an iterator that outlives its connections.
//!
//! ```text
//! Live --lost--> Away --connected--> Asking --agreed--> Live, and says that it has resumed
//!                  ^                    |
//!                  +------- lost -------+     each ends with what can't be waited for: refused, or no other connection to have
//! ```
//!
//! No thread stands behind it: the one that waits for the next notice takes these steps.

use std::{
    mem,
    ops::ControlFlow,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{
    ErrorCode, Pattern, Retry, control,
    transport::poll::{self, PollFd, PollFlags},
};

use super::{
    notice::{Notice, Reader},
    place::Place,
    watch::Watch,
};
use crate::{
    client::Client,
    error::{Error, Result},
    link::{
        backoff::Backoff,
        blocking::{Connection, Heard},
    },
    session::{Loss, Patience, Taken, patience::to_ms},
};

/// A subscription, as an iterator of what it tells. Dropping it gives it up: the broker is told.
///
/// It survives its connection: when that is lost, the thread that waits for the next notice connects again, after 50 ms to 2 s, and subscribes
/// again; [`Notice::Resumed`] says so, once. It ends with an error where there can't be another connection ([`Client::from_fd`], a service
/// that was stopped), or where the broker refuses it.
///
/// No thread runs behind it. The thread that waits reads the connection for all that share the client, as one that waits for a call does;
/// so a client may have many subscriptions, each on a thread of its own. What came for one that no thread waits for is kept here, up to its
/// [queue](crate::Subscribe::queue), and then lost by its [policy](crate::Subscribe::policy).
///
/// ```
/// # use ipc_client::{Client, Notice, Publication};
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// let client = Client::connect_to(&address)?;
/// let news = client.subscribe("news.")?;
/// # client.publish_bytes(&Publication::new("news.local".parse()?, "rain"))?;
/// for notice in news {
///     match notice? {
///         Notice::Event(event) => println!("{}: {}", event.topic, String::from_utf8_lossy(&event.body)),
///         Notice::Gap(lost) => eprintln!("{lost} events were lost"),
///         Notice::Resumed => eprintln!("the broker was away"),
///         _ => {}
///     }
///     # break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    request: control::Subscribe,
    standing: Standing,
    reader: Reader,
    backoff: Backoff,
    /// What tells the program's own loop, if it has one.
    watch: Option<Watch>,
}

#[derive(Debug)]
enum Standing {
    Live(Place),
    /// The last connection is lost, or the broker refuses for now; it is tried again at this time.
    Away {
        last: Arc<Connection>,
        again: Instant,
    },
    /// The broker was asked on a new connection.
    Asking(Place),
    /// Why, and whether the iterator has said so.
    Ended {
        error: Error,
        is_told: bool,
    },
}

/// How a wait ends, if there is nothing more to do before.
type Step = ControlFlow<Result<Option<Notice>>>;

impl Subscription {
    pub(super) fn start(client: &Client, request: control::Subscribe) -> Result<Self> {
        let place = Place::ask(client.calls(), client.connection(), &request)?;
        place.answer(None, None).unwrap_or_else(|| Err(unanswered()))?;
        Ok(Self {
            client: client.clone(),
            request,
            standing: Standing::Live(place),
            reader: Reader::default(),
            backoff: Backoff::new(),
            watch: None,
        })
    }

    /// What it subscribes to.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.request.pattern
    }

    /// Waits for the next notice, but no longer than `timeout`: `None` if there was none. Zero takes what is there.
    ///
    /// # Errors
    /// Why the subscription has ended; the same one each time.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Notice>> {
        self.next_until(Instant::now().checked_add(timeout), None)
    }

    /// Waits for the next notice, or until `interrupt` is readable, for example a signalfd. The subscription lives on.
    ///
    /// # Errors
    /// `cancelled` after an interrupt, else as [`Subscription::next_within`].
    pub fn next_or_interrupt(&mut self, interrupt: BorrowedFd<'_>) -> Result<Notice> {
        loop {
            if let Some(notice) = self.next_until(None, Some(interrupt))? {
                return Ok(notice);
            }
        }
    }

    /// Waits for the next notice until a time, or until `interrupt` is readable. `None` once the time has come.
    ///
    /// # Errors
    /// As [`Subscription::next_or_interrupt`].
    pub fn next_until(&mut self, until: Option<Instant>, interrupt: Option<BorrowedFd<'_>>) -> Result<Option<Notice>> {
        let next = loop {
            if let ControlFlow::Break(next) = self.step(until, interrupt) {
                break next;
            }
        };
        self.update_watch();
        next
    }

    /// Has a descriptor tell when there may be something to do.
    ///
    /// # Errors
    /// `internal` if the system has no descriptors left.
    pub(super) fn watch(&mut self) -> Result<Arc<OwnedFd>> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::new()?,
        };
        let descriptor = watch.descriptor();
        if let Standing::Live(place) | Standing::Asking(place) = &self.standing {
            place.ring(watch.bell());
        }
        self.watch = Some(watch);
        self.update_watch();
        Ok(descriptor)
    }

    fn step(&mut self, until: Option<Instant>, interrupt: Option<BorrowedFd<'_>>) -> Step {
        match &self.standing {
            Standing::Live(place) => {
                let heard = place.listen(until, interrupt);
                self.heard(heard)
            }
            Standing::Away { last, again } => {
                let (last, again) = (last.clone(), *again);
                self.stay_away(&last, again, until, interrupt)
            }
            Standing::Asking(place) => {
                if let Some(watch) = &self.watch {
                    watch.bell().silence(); // what it rang for is looked for now
                }
                match place.answer(until, interrupt) {
                    Some(outcome) => self.answered(outcome.map(drop)),
                    None if Instant::now() >= place.due() => self.answered(Err(unanswered())),
                    None => self.out_of_time(until, interrupt),
                }
            }
            Standing::Ended { error, .. } => Step::Break(Err(error.clone())),
        }
    }

    fn heard(&mut self, heard: Result<Heard>) -> Step {
        match heard {
            Ok(Heard::Taken(Taken::Event(place, event))) => match self.reader.read(place, event) {
                Some(event) => Step::Break(Ok(Some(Notice::Event(event)))),
                None => Step::Continue(()),
            },
            Ok(Heard::Taken(Taken::Gap(lost))) => Step::Break(Ok(Some(Notice::Gap(lost)))),
            Ok(Heard::Taken(Taken::Cut)) => self.end(overrun(&self.request)),
            Ok(Heard::Lost(loss)) => self.lost(loss),
            Ok(Heard::TimeIsUp) => Step::Break(Ok(None)),
            Ok(Heard::Interrupted) => Step::Break(Err(interrupted())),
            Err(misuse) => Step::Break(Err(misuse)),
        }
    }

    fn lost(&mut self, loss: Loss) -> Step {
        let (Standing::Live(place) | Standing::Asking(place)) = &self.standing else { return Step::Continue(()) };
        let last = place.connection().clone();
        if !self.client.calls().line.may_come_back() {
            return self.end(Error::new(loss.code, loss.text));
        }
        self.backoff = Backoff::new();
        self.pause(last)
    }

    fn pause(&mut self, last: Arc<Connection>) -> Step {
        self.standing = Standing::Away { last, again: Instant::now() + self.backoff.pause() };
        Step::Continue(())
    }

    fn stay_away(
        &mut self,
        last: &Arc<Connection>,
        again: Instant,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Step {
        let line = &self.client.calls().line;
        if let Some(connection) = line.successor(last) {
            return self.ask(connection);
        }
        if Instant::now() >= again || !line.may_come_back() {
            if last.takes_more() {
                return self.ask(last.clone());
            }
            let left = until.map_or(CONNECT, |until| until.saturating_duration_since(Instant::now()).min(CONNECT));
            return match line.replace(last, Patience::new(Instant::now(), to_ms(left))) {
                Ok(connection) => self.ask(connection),
                Err(error) => self.failed(error, last.clone()),
            };
        }
        let at_most = until.map_or(again, |until| until.min(again));
        match interrupt {
            None => line.await_successor(last, at_most),
            Some(interrupt) => {
                let mut fds = [PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
                match poll::wait(&mut fds, Some(at_most)) {
                    Ok(0) => {}
                    Ok(_) => return Step::Break(Err(interrupted())),
                    Err(error) => return self.end(Error::host("wait", error)),
                }
            }
        }
        self.out_of_time(until, None)
    }

    /// Nothing has come. Breaks if the time is over.
    fn out_of_time(&self, until: Option<Instant>, interrupt: Option<BorrowedFd<'_>>) -> Step {
        let is_readable = |interrupt: BorrowedFd<'_>| poll::is_ready(interrupt, PollFlags::IN).unwrap_or(true);
        if interrupt.is_some_and(is_readable) {
            return Step::Break(Err(interrupted()));
        }
        if until.is_some_and(|until| Instant::now() >= until) { Step::Break(Ok(None)) } else { Step::Continue(()) }
    }

    fn ask(&mut self, connection: Arc<Connection>) -> Step {
        match Place::ask(self.client.calls(), connection.clone(), &self.request) {
            Ok(place) => {
                if let Some(watch) = &self.watch {
                    place.ring(watch.bell());
                }
                self.standing = Standing::Asking(place);
                Step::Continue(())
            }
            Err(error) => self.failed(error, connection),
        }
    }

    fn answered(&mut self, answer: Result<()>) -> Step {
        let ended = Standing::Ended { error: unanswered(), is_told: false };
        let Standing::Asking(place) = mem::replace(&mut self.standing, ended) else { return Step::Continue(()) };
        match answer {
            Ok(()) => {
                self.standing = Standing::Live(place);
                self.backoff = Backoff::new();
                Step::Break(Ok(Some(Notice::Resumed)))
            }
            Err(error) => {
                let connection = place.connection().clone();
                drop(place);
                self.failed(error, connection)
            }
        }
    }

    /// Tries again later, unless that is no use.
    fn failed(&mut self, error: Error, connection: Arc<Connection>) -> Step {
        if is_passing(&error) && self.client.calls().line.may_come_back() {
            self.pause(connection)
        } else {
            self.end(error)
        }
    }

    fn end(&mut self, error: Error) -> Step {
        self.standing = Standing::Ended { error: error.clone(), is_told: false };
        Step::Break(Err(error))
    }

    fn update_watch(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let is_read_for_all = self.client.calls().line.is_read_for_all();
        let watched = match &self.standing {
            Standing::Live(place) => watch.follow((!is_read_for_all).then_some(place.connection()), None),
            Standing::Asking(place) => {
                watch.follow((!is_read_for_all).then_some(place.connection()), Some(place.due()))
            }
            Standing::Away { again, .. } => watch.follow(None, Some(*again)),
            Standing::Ended { .. } => {
                watch.bell().ring();
                watch.follow(None, None)
            }
        };
        if let Err(error) = watched {
            watch.bell().ring(); // so that the program looks
            self.standing = Standing::Ended { error, is_told: false };
        }
    }
}

/// Waits for each notice; after an error there is none.
impl Iterator for Subscription {
    type Item = Result<Notice>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Standing::Ended { is_told: true, .. } = self.standing {
            return None;
        }
        let next = loop {
            match self.next_until(None, None) {
                Ok(None) => {} // after some weeks without an event
                Ok(Some(notice)) => break Ok(notice),
                Err(error) => break Err(error),
            }
        };
        if let Standing::Ended { is_told, .. } = &mut self.standing {
            *is_told = true;
        }
        Some(next)
    }
}

fn interrupted() -> Error {
    Error::new(ErrorCode::CANCELLED, "the wait for an event was interrupted").with_retry(Retry::Safe)
}

/// Whether to try again later.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST | ErrorCode::BUSY | ErrorCode::DEADLINE)
}

fn unanswered() -> Error {
    Error::new(ErrorCode::DEADLINE, "the broker doesn't answer whether it subscribes").with_retry(Retry::Safe)
}

pub(crate) fn overrun(request: &control::Subscribe) -> Error {
    let text = format!("more than {} events on {} waited to be taken", request.queue, request.pattern);
    Error::new(ErrorCode::BUSY, text)
}

/// How long a broker may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
