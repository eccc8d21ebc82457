//! Making a call again, as long as that is safe.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    cancel::CancelToken,
    error::{CallError, Error},
    link::backoff::{Backoff, FIRST, LONGEST},
};

/// Repeats what ended with an error that is safe to retry: `busy`, `no_service`, a broker that restarts. What may have run is never
/// repeated.
///
/// The pause after the first attempt is 50 ms, and doubles up to 2 s; each is cut by up to half at random, so that many callers don't
/// come back in the same instant. No attempt begins once the time is over, and each is told what is left of it.
///
/// ```
/// # use std::time::Duration;
/// use ipc_client::{Attempts, Client, ErrorCode};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Print(String);
/// # impl ipc_client::Method for Print {
/// #     const SERVICE: &'static str = "printer";
/// #     const METHOD: &'static str = "print";
/// #     type Reply = ();
/// #     type Error = String;
/// # }
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
///
/// let client = Client::connect_to(&address)?;
/// let print = Print("a page".to_owned());
/// let printed = Attempts::within(Duration::from_millis(200)).run(|left| client.call_within(&print, left));
/// assert_eq!(printed.unwrap_err().code(), ErrorCode::NO_SERVICE); // there was none in all that time
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is attempted before `run`"]
pub struct Attempts {
    within: Duration,
    first: Duration,
    longest: Duration,
    cancel: Option<CancelToken>,
}

/// An error that knows whether what ended with it may be done again.
pub trait Repeatable {
    /// Whether the same may be done again without being done twice.
    fn is_retry_safe(&self) -> bool;
}

impl Attempts {
    /// Attempts for this long. There is at least one.
    pub fn within(time: Duration) -> Self {
        Self { within: time, first: FIRST, longest: LONGEST, cancel: None }
    }

    /// The first pause and the longest, before their random part is cut.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// Gives up when a call is cancelled, the one that a method answers with these attempts.
    pub fn cancelled_by(mut self, cancel: &CancelToken) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Runs `attempt`, with the time that is left, until it succeeds, ends with an error that is not safe to retry, or the time is over.
    /// Blocks in the pauses.
    ///
    /// # Errors
    /// What the last attempt ended with.
    pub fn run<T, E: Repeatable>(&self, mut attempt: impl FnMut(Duration) -> Result<T, E>) -> Result<T, E> {
        let mut series = self.begin();
        loop {
            let error = match attempt(series.left()) {
                Err(error) if error.is_retry_safe() => error,
                ended => return ended,
            };
            match series.pause() {
                Some(pause) if !self.pause(pause) => {}
                _ => return Err(error),
            }
        }
    }

    /// As [`Attempts::run`], for futures: nothing blocks in the pauses. Dropping the future gives up, so there is no need for
    /// [`Attempts::cancelled_by`], which isn't looked at here.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ipc_client::{AsyncClient, Attempts, ErrorCode, Request, Result};
    /// async fn print(client: &AsyncClient, page: &Request) -> Result<()> {
    ///     let attempts = Attempts::within(Duration::from_secs(5));
    ///     attempts.run_async(|left| client.call_bytes(page.clone().timeout(left))).await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    /// What the last attempt ended with.
    #[cfg(feature = "tokio")]
    pub async fn run_async<T, E: Repeatable>(
        self,
        mut attempt: impl AsyncFnMut(Duration) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut series = self.begin();
        loop {
            let error = match attempt(series.left()).await {
                Err(error) if error.is_retry_safe() => error,
                ended => return ended,
            };
            match series.pause() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    fn begin(&self) -> Series {
        Series { until: Instant::now().checked_add(self.within), backoff: Backoff::between(self.first, self.longest) }
    }

    /// Waits; true if the call was cancelled meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        match &self.cancel {
            Some(cancel) => cancel.wait(pause),
            None => {
                thread::sleep(pause);
                false
            }
        }
    }
}

/// Attempts that have begun.
struct Series {
    /// None: never.
    until: Option<Instant>,
    backoff: Backoff,
}

impl Series {
    fn left(&self) -> Duration {
        self.until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()))
    }

    /// How long to wait for the next attempt; `None` if the time is over by then.
    fn pause(&mut self) -> Option<Duration> {
        let pause = self.backoff.pause();
        (pause < self.left()).then_some(pause)
    }
}

impl Repeatable for Error {
    fn is_retry_safe(&self) -> bool {
        self.is_retry_safe()
    }
}

impl<E> Repeatable for CallError<E> {
    fn is_retry_safe(&self) -> bool {
        self.is_retry_safe()
    }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::ErrorCode;

    use super::*;

    fn attempts() -> Attempts {
        Attempts::within(Duration::from_secs(60)).pauses(Duration::from_micros(1), Duration::from_micros(4))
    }

    /// What `count` attempts end with, the last one with `end`.
    fn run(attempts: &Attempts, count: u32, end: Result<u32, ErrorCode>) -> (u32, Result<u32, ErrorCode>) {
        let mut made = 0;
        let ended = attempts.run(|_| {
            made += 1;
            let outcome = if made < count { Err(ErrorCode::BUSY) } else { end };
            outcome.map_err(|code| Error::new(code, "no"))
        });
        (made, ended.map_err(|error| error.code()))
    }

    #[test]
    fn what_is_safe_is_repeated_until_it_succeeds() {
        assert_eq!(run(&attempts(), 5, Ok(7)), (5, Ok(7)));
    }

    #[test]
    fn what_may_have_run_is_not_repeated() {
        let lost = Err(ErrorCode::SERVICE_GONE);
        assert_eq!(run(&attempts(), 2, lost), (2, lost));
        let said: Result<(), _> = attempts().run(|_| Err(CallError::App("no")));
        assert!(matches!(said, Err(CallError::App("no"))));
    }

    #[test]
    fn no_attempt_begins_once_the_time_is_over() {
        let busy = Err(ErrorCode::BUSY);
        assert_eq!(run(&Attempts::within(Duration::ZERO), u32::MAX, busy), (1, busy));
        let hour = Duration::from_secs(3600);
        assert_eq!(run(&attempts().pauses(hour, hour), u32::MAX, busy), (1, busy));
    }

    #[test]
    fn an_attempt_is_told_how_much_time_is_left() {
        let told = attempts().run(Ok::<_, Error>);
        assert!(told.unwrap() <= Duration::from_secs(60));
    }
}
