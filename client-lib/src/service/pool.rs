//! The threads that run the methods which are not quick.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ipc_protocol::{Call, ErrorCode, Failure, Message, Retry};

use super::{Context, methods::Answer, running::Running};
use crate::{
    error::{Error, Result},
    link::blocking::Connection,
    session::Frames,
};

/// A call for the pool.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) context: Context,
    pub(super) answer: Answer,
    /// Where the call came from: its answer goes there or nowhere.
    pub(super) connection: Arc<Connection>,
    pub(super) running: Arc<Running>,
}

/// A fixed number of threads and their queue, which the window of the service bounds. Dropping it lets the threads go: each ends
/// after the call that it runs.
pub(super) struct Pool(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// `internal` if the system has no thread left.
    pub(super) fn start(threads: usize) -> Result<Self> {
        let pool = Self(Arc::default());
        for number in 1..=threads {
            let queue = pool.0.clone();
            thread::Builder::new().name(format!("ipc-call-{number}")).spawn(move || queue.work()).map_err(no_thread)?;
        }
        Ok(pool)
    }

    /// Queues a call.
    pub(super) fn push(&self, job: Job) {
        self.0.state().jobs.push_back(job);
        self.0.changed.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn work(&self) {
        let mut answers = Frames::default();
        while let Some(job) = self.next() {
            job.run(&mut answers);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Runs the call and answers it. One that was cancelled before is answered and not run: the broker frees its place then.
    fn run(self, answers: &mut Frames) {
        match self.context.cancel.reason() {
            None => (self.answer)(&self.call, &self.context, answers),
            Some(reason) => {
                let failure =
                    Failure::new(self.call.id, reason, "the caller stopped waiting before the call's turn came");
                answers.push_message(Message::Error(Failure { retry: Retry::Safe, ..failure }));
            }
        }
        self.context.cancel.end(&self.connection);
        self.connection.answer_one(answers);
        self.running.leave(self.call.id);
    }
}

pub(super) fn no_thread(error: io::Error) -> Error {
    Error::new(ErrorCode::INTERNAL, format!("the system gives no thread ({})", error.kind())).caused_by(error)
}
