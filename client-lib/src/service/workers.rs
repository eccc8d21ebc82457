//! The threads that run the methods which are not quick.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ipc_protocol::{Call, Failure, Message, Retry};

use super::{Context, methods::Responder, unanswered::Unanswered};
use crate::{
    error::{Error, Result},
    link::blocking::Connection,
    session::Frames,
    stream::Place,
};

/// A call for the pool.
pub(super) struct Task {
    pub(super) call: Call,
    pub(super) context: Context,
    pub(super) answer: Responder,
    /// Where the call came from: its answer goes there or nowhere.
    pub(super) connection: Arc<Connection>,
    pub(super) unanswered: Arc<Unanswered>,
}

/// A fixed number of threads and their queue, which the window of the service bounds. Dropping it lets the threads go: each ends
/// after the call that it runs.
pub(super) struct Workers {
    queue: Arc<Queue>,
    threads: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
    /// Threads that have to end although there is work.
    surplus: usize,
    /// Threads that wait for work.
    idle: usize,
    /// Whether one of them was called and has not come yet. It calls the next when it has found more than one task, so that a
    /// crowd of short calls wakes a thread or two, and not one for each.
    is_called: bool,
}

impl Workers {
    /// Starts the threads, or half of those that the system has left: memory and processes for what the methods do have to come
    /// from somewhere.
    ///
    /// # Errors
    /// `internal` if it has none at all.
    pub(super) fn start(wanted: usize) -> Result<Self> {
        let mut workers = Self { queue: Arc::default(), threads: 0 };
        // Threads take address space as well: this much of it stays free for what they do.
        let mut reserve: Vec<u8> = Vec::new();
        let _ = reserve.try_reserve_exact(RESERVE); // without it the first thread fails below
        for number in 1..=wanted {
            let queue = workers.queue.clone();
            let started = thread::Builder::new().name(format!("ipc-call-{number}")).spawn(move || queue.work());
            match started {
                Ok(_) => workers.threads = number,
                Err(_) if number > 1 => {
                    workers.give_back(workers.threads / 2);
                    break;
                }
                Err(error) => {
                    return Err(no_thread(error));
                }
            }
        }
        Ok(workers)
    }

    fn give_back(&mut self, count: usize) {
        self.threads -= count;
        self.queue.state().surplus = count;
        self.queue.changed.notify_all();
    }

    /// How many there are.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Queues a call.
    pub(super) fn push(&self, task: Task) {
        let mut state = self.queue.state();
        state.tasks.push_back(task);
        self.queue.call_another(state);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn work(&self) {
        let mut answers = Frames::default();
        while let Some(task) = self.next() {
            task.run(&mut answers);
        }
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if state.surplus > 0 {
                state.surplus -= 1;
                return None;
            }
            if let Some(task) = state.tasks.pop_front() {
                self.call_another(state);
                return Some(task);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state.is_called = false;
        }
    }

    /// Wakes a thread if there is work for it and none is on its way.
    fn call_another(&self, mut state: MutexGuard<'_, State>) {
        if !state.is_called && state.idle > 0 && !state.tasks.is_empty() {
            state.is_called = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
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
        if self.call.streams.any() {
            drop(Place::of_delivered(&self.connection, &self.call)); // of a call that never ran
        }
        self.context.cancel.end(&self.connection);
        self.connection.answer_one(answers);
        self.unanswered.leave(self.call.id);
    }
}

pub(super) fn no_thread(error: io::Error) -> Error {
    Error::host("start a thread", error)
}

/// Bytes that are set aside while the threads start. Nothing writes to them, so they cost no memory.
const RESERVE: usize = 32 * 1024 * 1024;
