//! The thread that owns a worker: it starts the worker, gives it one line at a time, notices its death, and starts it again.
//!
//! When a call gives up on its answer, the worker is ended and started anew: its next line would answer the wrong call.

use std::{
    io,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipc_client::{Bell, ErrorCode, Failed};

use crate::{
    child::{
        Interest,
        group::Surroundings,
        job::Stop,
        ready,
        recipe::Recipe,
        restarts::Restarts,
        verdict,
        worker::{Exchange, Order, Worker},
    },
    term::reason,
};

/// A line without its line break, or an error.
pub(crate) type Answer = Result<Vec<u8>, Failed>;

/// How a worker is started, each time.
pub(crate) struct Standing {
    /// Command line and environment.
    pub(crate) recipe: Box<dyn Fn() -> Recipe + Send>,
    pub(crate) surroundings: Surroundings,
}

/// Our end of the thread.
pub(crate) struct Keeper {
    errands: mpsc::Sender<Errand>,
    bell: Bell,
    thread: JoinHandle<()>,
}

/// An order, with the way back for its answer.
struct Errand {
    order: Order,
    answer: mpsc::Sender<Answer>,
}

impl Keeper {
    /// Starts the thread, which starts the worker. `quit` ends both.
    pub(crate) fn start(standing: Standing, quit: Bell) -> io::Result<Self> {
        let (errands, receiver) = mpsc::channel();
        let bell = Bell::new()?;
        let desk =
            Desk { standing, errands: receiver, bell: bell.clone(), quit, worker: None, restarts: Restarts::new() };
        let thread = thread::Builder::new().name("worker".to_owned()).spawn(move || desk.run())?;
        Ok(Self { errands, bell, thread })
    }

    /// Gives the worker a line and waits for its answer.
    pub(crate) fn order(&self, order: Order) -> Answer {
        let (answer, answered) = mpsc::channel();
        let gone = || verdict::of_stop(Stop::Quit);
        self.errands.send(Errand { order, answer }).map_err(|_| gone())?;
        self.bell.ring();
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Waits for the end of the thread; `quit` must have been rung.
    pub(crate) fn join(self) {
        let _ = self.thread.join(); // a panic there has been reported there
    }
}

/// The thread's own state.
struct Desk {
    standing: Standing,
    errands: mpsc::Receiver<Errand>,
    bell: Bell,
    quit: Bell,
    worker: Option<Worker>,
    restarts: Restarts,
}

impl Desk {
    fn run(mut self) {
        loop {
            self.start_worker();
            let exit = self.worker.as_ref().map(|worker| worker.exit() as _);
            let until = self.worker.is_none().then_some(self.restarts.start_at());
            let watched = [
                (Some(&self.quit as _), Interest::Read),
                (Some(&self.bell as _), Interest::Read),
                (exit, Interest::Read),
            ];
            let Ok([quit, ordered, exited]) = ready(watched, until) else { break };
            if quit {
                break;
            }
            if exited {
                self.bury();
            }
            if ordered {
                self.bell.silence();
                while let Ok(errand) = self.errands.try_recv() {
                    let answer = self.serve(&errand.order);
                    let _ = errand.answer.send(answer); // the caller's thread may have ended
                }
            }
        }
        if let Some(worker) = self.worker.take() {
            worker.retire();
        }
    }

    /// Starts a worker if there is none and one is due.
    fn start_worker(&mut self) {
        if self.worker.is_some() || !self.restarts.is_due() {
            return;
        }
        match Worker::start((self.standing.recipe)(), &self.standing.surroundings) {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => self.restarts.after_failure(&format!("could not be started: {error}")),
        }
    }

    /// Answers a call. If the worker dies before it reads any of the line, the call hasn't run, and the next worker gets it.
    fn serve(&mut self, order: &Order) -> Answer {
        loop {
            self.await_worker(order)?;
            let Some(worker) = &mut self.worker else { return Err(self.busy()) };
            match worker.exchange(order, &self.quit) {
                Ok(Exchange::Line(line)) => return Ok(line),
                Ok(Exchange::DiedBefore) => drop(self.bury()),
                Ok(Exchange::Died) => {
                    let end = self.bury();
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("the worker {end} before it answered")));
                }
                Ok(Exchange::Unasked) => {
                    self.dismiss_for(UNASKED);
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("the worker {UNASKED}")));
                }
                Ok(Exchange::Silent) => {
                    self.dismiss();
                    return Err(Failed::new(ErrorCode::DEADLINE, SILENT));
                }
                Ok(Exchange::Stopped(stop)) => {
                    self.dismiss();
                    return Err(verdict::of_stop(stop));
                }
                Err(error) => {
                    self.dismiss();
                    return Err(Failed::new(
                        ErrorCode::INTERNAL,
                        format!("cannot talk to the worker: {}", reason(&error)),
                    ));
                }
            }
        }
    }

    /// Makes sure that there is a worker and that it hasn't written anything unasked. Waits for a worker that is due soon; refuses
    /// a call that would have to wait longer, so that its caller knows that it hasn't run.
    fn await_worker(&mut self, order: &Order) -> Result<(), Failed> {
        if self.worker.as_mut().is_some_and(Worker::is_out_of_step) {
            self.dismiss_for(UNASKED);
        }
        self.start_worker();
        while self.worker.is_none() {
            if !self.restarts.is_due_soon() {
                return Err(self.busy());
            }
            self.await_start(order)?;
            self.start_worker();
        }
        Ok(())
    }

    fn await_start(&self, order: &Order) -> Result<(), Failed> {
        let start_at = self.restarts.start_at();
        let until = order.until.map_or(start_at, |until| until.min(start_at));
        let watched = [(Some(&order.cancel as _), Interest::Read), (Some(&self.quit as _), Interest::Read)];
        match ready(watched, Some(until)) {
            Ok([true, _]) => Err(verdict::of_stop(Stop::Cancelled)),
            Ok([_, true]) | Err(_) => Err(verdict::of_stop(Stop::Quit)),
            Ok([false, false]) if order.until.is_some_and(|until| until <= Instant::now()) => {
                Err(verdict::of_stop(Stop::OutOfTime))
            }
            Ok([false, false]) => Ok(()),
        }
    }

    /// Reaps a worker that has died, and says how it ended.
    fn bury(&mut self) -> String {
        let Some(worker) = self.worker.take() else { return "had ended".to_owned() };
        let is_well = worker.has_answered() || worker.age() >= SETTLED;
        let end = worker.reap().map_or_else(|error| format!("ended: {}", reason(&error)), verdict::describe);
        if is_well {
            self.restarts.after_success(&end);
        } else {
            self.restarts.after_failure(&end);
        }
        end
    }

    /// Ends a worker whose next line would answer the wrong call. It isn't to blame, so the next one starts at once.
    fn dismiss(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end();
            self.restarts.at_once("was ended");
        }
    }

    /// Ends a worker for a fault that the next one probably has, too.
    fn dismiss_for(&mut self, fault: &str) {
        self.dismiss();
        self.restarts.after_failure(fault);
    }

    fn busy(&self) -> Failed {
        Failed::new(ErrorCode::BUSY, self.restarts.excuse())
    }
}

/// The fault of a worker whose lines can't be matched with calls any more.
const UNASKED: &str = "wrote a line that no call had asked for";
/// The error when the worker has read the line and written nothing. Most programs buffer what they write to a pipe, up to 4 KiB
/// (setvbuf(3)).
const SILENT: &str =
    "the worker took the line and wrote none: does it flush? ('ipcctl serve --help' says how to make it)";
/// A worker that lives this long has started well.
const SETTLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
