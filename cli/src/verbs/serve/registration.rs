//! Registering a service, which may take a while: there may be no broker yet, or one that doesn't answer. A thread does the waiting;
//! the main thread polls for its news and stays free for signals.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ipc_client::{Bell, Error, ErrorCode, Polled, Service};

/// Our end of the thread.
pub(crate) struct Registration {
    news: mpsc::Receiver<News>,
    bell: Bell,
}

/// What the thread tells.
pub(crate) enum News {
    /// There is no broker. Another attempt follows.
    NoBroker(Error),
    /// The service is registered, or can't be.
    Over(Result<Box<Polled>, Error>),
}

impl Registration {
    /// Registers what `service` makes. If there is no broker, tries again until `patience` runs out.
    pub(crate) fn begin(patience: Duration, service: impl Fn() -> Service + Send + 'static) -> io::Result<Self> {
        let ((teller, news), bell) = (mpsc::channel(), Bell::new()?);
        let ringer = bell.clone();
        let tell = move |news| {
            let _ = teller.send(news); // fails if the main thread has left
            ringer.ring();
        };
        let register = move || tell(News::Over(register(patience, service, &tell)));
        thread::Builder::new().name("register".to_owned()).spawn(register)?;
        Ok(Self { news, bell })
    }

    /// The oldest news, if there is any.
    pub(crate) fn take(&self) -> Option<News> {
        if let Ok(news) = self.news.try_recv() {
            return Some(news);
        }
        self.bell.silence();
        self.news.try_recv().ok() // it may have come before the silence
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn register(patience: Duration, service: impl Fn() -> Service, tell: &impl Fn(News)) -> Result<Box<Polled>, Error> {
    let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        match service().poll() {
            Ok(polled) => return Ok(Box::new(polled)),
            Err(error) if is_absence(&error) && began.elapsed() < patience => tell(News::NoBroker(error)),
            Err(error) => return Err(error),
        }
        thread::sleep(pause.min(patience.saturating_sub(began.elapsed())));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether there is no broker, or it went away at once.
fn is_absence(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST)
}

/// The pause before the second attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause, and so the longest that a service comes after its broker.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(500);
