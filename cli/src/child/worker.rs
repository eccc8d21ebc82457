//! A command that lives on: a line in, a line out, for each call (`ipcctl serve --lines`).
//!
//! A [`Keeper`] is a thread that owns one such command. It starts it, gives it one line at a time, notices when it dies, and
//! starts it again: at once, or after 100 ms to 5 s if it keeps dying before it has answered anything. A command whose answer is
//! not waited for any more is ended and started anew, because its next line would answer the wrong call.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipc_client::{ErrorCode, Failed, limits::MAX_BODY};

use crate::child::{
    GRACE, Interest,
    bell::Bell,
    group::{Leader, StartError, Started, Stderr},
    job::{Stop, drain},
    ready,
    recipe::Recipe,
    verdict,
};

/// A call for a worker.
pub(crate) struct Order {
    /// The line, without its line break.
    pub(crate) line: Vec<u8>,
    /// Rings when nobody waits for the answer any more.
    pub(crate) cancel: Bell,
    /// When the time is over.
    pub(crate) until: Option<Instant>,
    /// Where the answer goes.
    pub(crate) answer: mpsc::Sender<Answer>,
}

/// A line without its line break, or why there is none.
pub(crate) type Answer = Result<Vec<u8>, Failed>;

/// How a worker is started, each time.
pub(crate) struct Standing {
    /// Command line and environment.
    pub(crate) recipe: Box<dyn Fn() -> Recipe + Send>,
    /// What becomes of its standard error.
    pub(crate) stderr: Stderr,
}

/// The thread that owns a worker.
pub(crate) struct Keeper {
    orders: mpsc::Sender<Order>,
    bell: Bell,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread, which starts the worker. `quit` ends both.
    pub(crate) fn start(standing: Standing, quit: Bell) -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let bell = Bell::new()?;
        let desk = Desk {
            standing,
            orders: receiver,
            bell: bell.clone(),
            quit,
            worker: None,
            failures: 0,
            start_at: Instant::now(),
            last: String::new(),
        };
        let thread = thread::Builder::new().name("worker".to_owned()).spawn(move || desk.run())?;
        Ok(Self { orders, bell, thread })
    }

    /// Has a line answered.
    pub(crate) fn order(&self, line: Vec<u8>, cancel: Bell, until: Option<Instant>) -> Answer {
        let (answer, answered) = mpsc::channel();
        let gone = || verdict::of_stop(Stop::Quit);
        self.orders.send(Order { line, cancel, until, answer }).map_err(|_| gone())?;
        self.bell.ring();
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Waits for the end of the thread; `quit` must have been rung.
    pub(crate) fn join(self) {
        let _ = self.thread.join(); // a panic there has been reported there
    }
}

/// What the thread works with.
struct Desk {
    standing: Standing,
    orders: mpsc::Receiver<Order>,
    bell: Bell,
    quit: Bell,
    worker: Option<Worker>,
    /// How often in a row it died at once.
    failures: u32,
    /// When it may be started next.
    start_at: Instant,
    /// How it ended last.
    last: String,
}

impl Desk {
    fn run(mut self) {
        loop {
            self.start_worker();
            let exit = self.worker.as_ref().map(|worker| worker.leader.exit() as _);
            let until = self.worker.is_none().then_some(self.start_at);
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
                while let Ok(order) = self.orders.try_recv() {
                    let answer = self.serve(&order);
                    let _ = order.answer.send(answer); // whoever asked may have gone
                }
            }
        }
        if let Some(worker) = self.worker.take() {
            worker.retire();
        }
    }

    /// Starts the command, if there is none and the time for it has come.
    fn start_worker(&mut self) {
        if self.worker.is_some() || self.start_at > Instant::now() {
            return;
        }
        match Worker::start(&self.standing) {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => self.back_off(format!("could not be started: {error}")),
        }
    }

    /// Answers a call. A worker that dies without having read any of the line has not run it: the next one gets it.
    fn serve(&mut self, order: &Order) -> Answer {
        loop {
            self.await_worker(order)?;
            let Some(worker) = &mut self.worker else { return Err(busy(&self.last, self.start_at)) };
            match worker.exchange(order, &self.quit) {
                Ok(Exchange::Line(line)) => {
                    worker.has_answered = true;
                    return Ok(line);
                }
                Ok(Exchange::Unasked) => {
                    self.dismiss(UNASKED);
                    self.back_off(UNASKED.to_owned()); // it would do it again
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("the worker {UNASKED}")));
                }
                Ok(Exchange::DiedBefore) => drop(self.bury()),
                Ok(Exchange::Died) => {
                    let end = self.bury();
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("the worker {end} before it answered")));
                }
                Ok(Exchange::Stopped(stop)) => {
                    self.dismiss("was ended");
                    return Err(verdict::of_stop(stop));
                }
                Err(error) => {
                    self.dismiss("was ended");
                    return Err(Failed::new(ErrorCode::INTERNAL, format!("cannot talk to the worker: {error}")));
                }
            }
        }
    }

    /// Sees to it that there is a worker and that it has said nothing unasked. Waits for one that is due soon; a call that would
    /// have to wait longer is refused, and whoever made it knows that it has not run.
    fn await_worker(&mut self, order: &Order) -> Result<(), Failed> {
        if self.worker.as_mut().is_some_and(Worker::is_out_of_step) {
            self.dismiss(UNASKED);
            self.back_off(UNASKED.to_owned());
        }
        self.start_worker();
        while self.worker.is_none() {
            if self.start_at > Instant::now() + SOON {
                return Err(busy(&self.last, self.start_at));
            }
            let until = order.until.map_or(self.start_at, |until| until.min(self.start_at));
            let watched = [(Some(&order.cancel as _), Interest::Read), (Some(&self.quit as _), Interest::Read)];
            let stop = match ready(watched, Some(until)) {
                Ok([true, _]) => Some(Stop::Cancelled),
                Ok([_, true]) | Err(_) => Some(Stop::Quit),
                Ok([false, false]) if order.until.is_some_and(|until| until <= Instant::now()) => Some(Stop::OutOfTime),
                Ok([false, false]) => None,
            };
            if let Some(stop) = stop {
                return Err(verdict::of_stop(stop));
            }
            self.start_worker();
        }
        Ok(())
    }

    /// Waits for a worker that has died, and says how it ended.
    fn bury(&mut self) -> String {
        let Some(worker) = self.worker.take() else { return "had ended".to_owned() };
        let is_well = worker.has_answered || worker.started.elapsed() >= SETTLED;
        let end = worker.leader.reap().map_or_else(|error| format!("ended: {error}"), verdict::describe);
        if is_well {
            (self.failures, self.start_at) = (0, Instant::now());
            self.last = end.clone();
        } else {
            self.back_off(end.clone());
        }
        end
    }

    /// Ends a worker whose next line would answer the wrong call. It did nothing wrong by living: the next one starts at once.
    fn dismiss(&mut self, why: &str) {
        if let Some(worker) = self.worker.take() {
            worker.end();
            self.last = why.to_owned();
            self.start_at = Instant::now();
        }
    }

    fn back_off(&mut self, end: String) {
        let delay = FIRST_DELAY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        self.start_at = Instant::now() + delay;
        self.last = end;
    }
}

fn busy(last: &str, start_at: Instant) -> Failed {
    let left = start_at.saturating_duration_since(Instant::now());
    Failed::new(ErrorCode::BUSY, format!("the worker {last}; it is started again in {} ms", left.as_millis()))
}

/// A running worker.
#[derive(Debug)]
struct Worker {
    leader: Leader,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    /// What it has written since the last line.
    said: Vec<u8>,
    started: Instant,
    has_answered: bool,
}

/// How the work on one line ended.
enum Exchange {
    /// With its answer.
    Line(Vec<u8>),
    /// With more than one line, or with one that the worker wrote before it had read the one it was given: nobody can tell which
    /// of its lines answers what.
    Unasked,
    /// The worker died and has read nothing of the line.
    DiedBefore,
    /// The worker died.
    Died,
    /// It has to be ended.
    Stopped(Stop),
}

impl Worker {
    fn start(standing: &Standing) -> Result<Self, StartError> {
        let Started { leader, stdin, stdout, .. } = Leader::start((standing.recipe)(), standing.stderr)?;
        let (stdin, stdout) = (Some(stdin), Some(stdout));
        Ok(Self { leader, stdin, stdout, said: Vec::new(), started: Instant::now(), has_answered: false })
    }

    /// Gives it the line and waits for one.
    fn exchange(&mut self, order: &Order, quit: &Bell) -> io::Result<Exchange> {
        let line = [&order.line, &b"\n"[..]].concat();
        let mut sending = Sending { unsent: &line, written: 0 };
        loop {
            let stdin = self.stdin.as_ref().filter(|_| !sending.unsent.is_empty());
            let watched = [
                (stdin.map(|pipe| pipe as _), Interest::Write),
                (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
                (Some(self.leader.exit() as _), Interest::Read),
                (Some(&order.cancel as _), Interest::Read),
                (Some(quit as _), Interest::Read),
            ];
            let [writable, _, exited, cancelled, quit] = ready(watched, order.until)?;
            if let Some(stdin) = self.stdin.as_mut().filter(|_| writable) {
                sending.write_to(stdin);
            }
            // What it wrote just before it died is its answer.
            if let Some(line) = self.read_line() {
                let is_its_answer = sending.unsent.is_empty() && self.unread() == 0 && !self.is_out_of_step();
                return Ok(if is_its_answer { Exchange::Line(line) } else { Exchange::Unasked });
            }
            if exited || self.is_mute() {
                return Ok(if self.unread() == sending.written { Exchange::DiedBefore } else { Exchange::Died });
            }
            let reasons = [
                (self.said.len() > MAX_BODY as usize, Stop::TooMuch),
                (cancelled, Stop::Cancelled),
                (quit, Stop::Quit),
                (order.until.is_some_and(|until| until <= Instant::now()), Stop::OutOfTime),
            ];
            if let Some((_, stop)) = reasons.into_iter().find(|(holds, _)| *holds) {
                return Ok(Exchange::Stopped(stop));
            }
        }
    }

    /// Whether it has closed its output: it can answer nothing any more. Its exit is given the time to follow, so that it can be
    /// named.
    fn is_mute(&self) -> bool {
        self.stdout.is_none() && {
            self.await_exit();
            true
        }
    }

    /// Bytes in the pipe that it has not read: they stay there when it dies.
    fn unread(&self) -> u64 {
        self.stdin.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok()).unwrap_or(0)
    }

    /// Reads what lies in the pipe and takes the first line out of it, without its line break.
    fn read_line(&mut self) -> Option<Vec<u8>> {
        let said = &mut self.said;
        drain(&mut self.stdout, |bytes| {
            said.extend_from_slice(bytes);
            said.len() <= MAX_BODY as usize
        });
        let end = self.said.iter().position(|byte| *byte == b'\n').filter(|end| *end <= MAX_BODY as usize)?;
        let rest = self.said.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.said, rest);
        line.pop();
        Some(line)
    }

    /// Whether it has written something that no call is waiting for.
    fn is_out_of_step(&mut self) -> bool {
        let said = &mut self.said;
        drain(&mut self.stdout, |bytes| {
            said.extend_from_slice(bytes);
            false
        });
        !self.said.is_empty()
    }

    /// Ends it now: TERM to its group, KILL when the grace time is over.
    fn end(mut self) {
        self.stdin = None;
        self.leader.ask_to_end();
        self.await_exit();
        let _ = self.leader.reap(); // how it ends is of no interest
    }

    /// Lets it end by itself: the end of its input is the end of its work.
    fn retire(mut self) {
        self.stdin = None;
        if !self.await_exit() {
            self.end();
        }
    }

    fn await_exit(&self) -> bool {
        matches!(ready([(Some(self.leader.exit() as _), Interest::Read)], Some(Instant::now() + GRACE)), Ok([true]))
    }
}

/// A line on its way into a pipe.
struct Sending<'a> {
    unsent: &'a [u8],
    written: u64,
}

impl Sending<'_> {
    /// Writes as much as the pipe takes. A worker that has closed it reads no more; whether it still answers shows in time.
    fn write_to(&mut self, pipe: &mut PipeWriter) {
        match pipe.write(self.unsent) {
            Ok(written) => {
                self.unsent = &self.unsent[written..];
                self.written += written as u64;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.unsent = &[],
        }
    }
}

/// What a worker did whose lines do not belong to the calls any more.
const UNASKED: &str = "wrote a line that no call had asked for";
/// A worker that lived this long did not die at once.
const SETTLED: Duration = Duration::from_secs(1);
/// Pause after the first time that it died at once; it doubles with each further time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest pause: a worker that is repaired is back after this time at most.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A call waits for a worker that is started again within this time.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
