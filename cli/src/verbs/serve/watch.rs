//! The main thread of a service: it waits for signals, for the broker and for the clock, and decides when to end.

use std::{
    ops::ControlFlow,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use ipc_client::{Bell, Error, ErrorCode, Polled};

use super::{
    journal::Journal,
    mcp::Server,
    registration::{LONGEST_PAUSE, News, Registration},
    shift::Shift,
};
use crate::{
    child::{Interest, ready},
    duration,
    signals::Signals,
};

/// What ends a service from outside.
pub(crate) struct Watch<'a> {
    pub(crate) signals: &'a Signals,
    /// The process that runs our private broker.
    pub(crate) host: Option<OwnedFd>,
}

/// What a wait ended with.
enum Seen {
    /// What was waited for.
    Ready,
    /// A signal to end, or the end of the process that runs our private broker.
    Ending,
    /// The service may be about other methods now.
    News,
    Time,
}

impl Watch<'_> {
    fn wait_for(&mut self, awaited: &impl AsFd, news: Option<&Bell>, until: Option<Instant>) -> Seen {
        loop {
            let watched = [
                (Some(awaited as _), Interest::Read),
                (news.map(|bell| bell as _), Interest::Read),
                (Some(self.signals as _), Interest::Read),
                (self.host.as_ref().map(|host| host as _), Interest::Read),
            ];
            match ready(watched, until) {
                Ok([_, _, true, _]) if self.signals.take().is_some() => return Seen::Ending,
                Ok([_, _, _, true]) => {
                    self.host = None; // it stays readable
                    return Seen::Ending;
                }
                Ok([true, ..]) => return Seen::Ready,
                Ok([false, true, ..]) => return Seen::News,
                Ok([false, false, false, false]) => return Seen::Time,
                Ok([false, false, true, false]) => {}
                Err(_) => return Seen::Ending,
            }
        }
    }

    /// Serves until the service has ended: by itself, or after a signal, when running calls have up to 5 s. A second signal ends
    /// them at once, and with them a service whose broker doesn't answer.
    pub(crate) fn serve(&mut self, mut polled: Polled, shift: &Shift, journal: &Journal) -> Result<(), Error> {
        let mut leave_at = None;
        while let ControlFlow::Continue(()) = polled.turn()? {
            let due = polled.timeout().and_then(|timeout| Instant::now().checked_add(timeout));
            let news = shift.server().map(Server::news);
            match self.wait_for(&polled, news, due.into_iter().chain(leave_at).min()) {
                Seen::Ready | Seen::Time => {}
                Seen::News => {
                    let description = shift.server().and_then(Server::description);
                    description.into_iter().for_each(|description| polled.describe(description));
                }
                Seen::Ending if polled.stopper().is_used() => {
                    shift.quit();
                    leave_at.get_or_insert(Instant::now() + HASTE);
                }
                Seen::Ending => {
                    journal.finishing();
                    polled.stopper().stop();
                }
            }
            if leave_at.is_some_and(|at| at <= Instant::now()) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The wait for a registration.
pub(crate) struct Waiting<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) patience: Duration,
    /// The time for the broker's answer; `None` leaves it to the library.
    pub(crate) answer: Option<Duration>,
}

impl Waiting<'_> {
    /// Waits until the service is registered. `None` if it was asked to end before.
    pub(crate) fn registered(
        &self,
        registration: &Registration,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Polled>, Error> {
        let after = |time: Option<Duration>| time.and_then(|time| Instant::now().checked_add(time));
        let mut answer_by = after(self.answer);
        let mut notice_at = after(Some(QUIET));
        let mut absence = None;
        loop {
            let until = answer_by.into_iter().chain(notice_at).min();
            match watch.wait_for(registration, None, until) {
                Seen::Ending => return Ok(None),
                Seen::Ready => match registration.take() {
                    Some(News::Over(result)) => return result.map(|polled| Some(*polled)),
                    Some(News::NoBroker(error)) => {
                        absence = Some(error);
                        answer_by = after(self.answer.map(|answer| answer.saturating_add(LONGEST_PAUSE)));
                    }
                    None => {}
                },
                Seen::News | Seen::Time => {}
            }
            let now = Instant::now();
            if let Some(answer) = self.answer.filter(|_| answer_by.is_some_and(|by| by <= now)) {
                let text = format!("the broker did not answer within {}", duration::display(answer));
                return Err(Error::new(ErrorCode::DEADLINE, text));
            }
            if notice_at.is_some_and(|at| at <= now) {
                notice_at = None;
                if let Some(error) = &absence {
                    self.journal.waiting(self.patience, error);
                }
            }
        }
    }
}

/// How long to wait for a broker without a word.
const QUIET: Duration = Duration::from_secs(1);
/// The time to stop after a second signal: commands have half a second between TERM and KILL.
const HASTE: Duration = Duration::from_secs(1);
