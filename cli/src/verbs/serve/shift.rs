//! The commands that answer the calls of a service, and their end.

use ipc_client::{Bell, Context, ErrorCode, Failed, Incoming, ItemsBytes, Response, SinkBytes};

use super::{lines::Lines, once::Once, running::Running, streamed::Cut};
use crate::child::guard::Guard;

/// How calls are answered.
pub(crate) struct Shift {
    pub(crate) answerer: Answerer,
    pub(crate) running: Running,
    /// Rings when every command must end.
    pub(crate) quit: Bell,
    pub(crate) guard: Guard,
}

pub(crate) enum Answerer {
    Once(Once),
    Lines(Lines),
}

impl Shift {
    /// Answers a call.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        let _entry = self.running.enter();
        match &self.answerer {
            Answerer::Once(once) => once.answer(incoming, context),
            Answerer::Lines(lines) => lines.answer(incoming, context),
        }
    }

    /// Answers a call with streams, which only a command of its own can (`--stream`).
    pub(crate) fn answer_stream(
        &self,
        cut: Cut,
        incoming: &Incoming,
        streams: (ItemsBytes, SinkBytes),
        context: &Context,
    ) -> Result<Response, Failed> {
        let _entry = self.running.enter();
        match &self.answerer {
            Answerer::Once(once) => once.answer_stream(cut, incoming, streams, context),
            Answerer::Lines(_) => Err(Failed::new(ErrorCode::INVALID, "this service takes no streams")),
        }
    }

    /// The number of workers, which bounds the calls at once; `None` if each call starts its own command.
    pub(crate) fn jobs(&self) -> Option<u16> {
        match &self.answerer {
            Answerer::Once(_) => None,
            Answerer::Lines(lines) => Some(lines.count()),
        }
    }

    /// Tells every running command to end now.
    pub(crate) fn quit(&self) {
        self.quit.ring();
    }

    /// Ends every running command, and waits until all are gone.
    pub(crate) fn end(&self) {
        self.quit();
        self.running.wait_until_none();
        if let Answerer::Lines(lines) = &self.answerer {
            lines.join();
        }
        self.guard.end();
    }
}
