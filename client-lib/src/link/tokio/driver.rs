//! The task of a connection: it reads for all futures, and writes what the socket did not take at once.

use std::{
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

use super::wire::{Flushed, Wire};

/// Ends with its connection.
pub(super) struct Driver {
    wire: Arc<Wire>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self { wire, alarm: None }
    }

    /// Reads once, if there may be something.
    fn poll_read(&self, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.wire.socket.poll_read_ready(context)) {
            Ok(mut guard) => {
                let mut state = self.wire.lock();
                if self.wire.read(&mut state).is_pending() {
                    guard.clear_ready();
                }
                // Pongs, refusals and credit are owed at once.
                if state.session.unsent() > 0 {
                    self.wire.flush(&mut state);
                }
            }
            Err(error) => self.fail(&error.to_string()),
        }
        Poll::Ready(())
    }

    /// Writes, if the socket may take something.
    fn poll_write(&self, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.wire.socket.poll_write_ready(context)) {
            Ok(mut guard) => {
                let mut state = self.wire.lock();
                if self.wire.flush(&mut state) == Flushed::Well && state.session.unsent() > 0 {
                    guard.clear_ready();
                }
            }
            Err(error) => self.fail(&error.to_string()),
        }
        Poll::Ready(())
    }

    /// Does what was due. Pending until the next time.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = self.wire.lock().due;
        let Some(due) = self.wire.due(due) else { return Poll::Pending };
        let due = tokio::time::Instant::from_std(due);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        ready!(alarm.as_mut().poll(context));
        let mut state = self.wire.lock();
        state.sweep(Instant::now());
        if self.wire.is_due() {
            let _ = self.wire.read(&mut state); // which ends calls at both ends
        }
        if state.session.unsent() > 0 {
            self.wire.flush(&mut state);
        }
        Poll::Ready(())
    }

    /// What there is to do now; breaks at the end of the connection.
    fn turn(&mut self, context: &mut Context<'_>) -> ControlFlow<(), Poll<()>> {
        let (reads, writes) = {
            let mut state = self.wire.lock();
            if state.session.loss().is_some() {
                return ControlFlow::Break(());
            }
            state.driver_is(context);
            (state.wants_input(), state.session.unsent() > 0)
        };
        let mut has_worked = Poll::Pending;
        if writes && self.poll_write(context).is_ready() {
            has_worked = Poll::Ready(());
        }
        if reads && self.poll_read(context).is_ready() {
            has_worked = Poll::Ready(());
        }
        if self.poll_alarm(context).is_ready() {
            has_worked = Poll::Ready(());
        }
        ControlFlow::Continue(has_worked)
    }

    fn fail(&self, reason: &str) {
        self.wire.lose(&mut self.wire.lock(), reason);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            match self.turn(context) {
                ControlFlow::Break(()) => return Poll::Ready(()),
                ControlFlow::Continue(Poll::Pending) => return Poll::Pending,
                ControlFlow::Continue(Poll::Ready(())) => {}
            }
        }
        context.waker().wake_by_ref(); // after the others
        Poll::Pending
    }
}

/// The runtime goes away, or the task has panicked: no future must wait for what is never read.
impl Drop for Driver {
    fn drop(&mut self) {
        self.fail("the runtime that it belongs to has ended");
    }
}

/// Reads after which other tasks have their turn: 1 MiB.
const TURNS: usize = 32;
