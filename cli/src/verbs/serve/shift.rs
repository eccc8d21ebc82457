//! The commands that answer the calls of a service, and their end.

use ipc_client::{Bell, Context, ErrorCode, Failed, Incoming, ItemsBytes, Response, SinkBytes};

use super::{lines::Lines, mcp::Server, once::Once, running::Running, streamed::Cut};
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
    Mcp(Server),
}

impl Shift {
    /// Answers a call.
    pub(crate) fn answer(&self, incoming: &Incoming, context: &Context) -> Result<Response, Failed> {
        let _entry = self.running.enter();
        match &self.answerer {
            Answerer::Once(once) => once.answer(incoming, context),
            Answerer::Lines(lines) => lines.answer(incoming, context),
            Answerer::Mcp(server) => server.answer(incoming, context, None),
        }
    }

    /// Answers a call with streams, which a command of its own can (`--stream`), and a server that tells its progress (`--mcp`).
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
            Answerer::Mcp(server) => server.answer(incoming, context, Some(streams.1)),
            Answerer::Lines(_) => Err(Failed::new(ErrorCode::INVALID, "this service takes no streams")),
        }
    }

    /// The number of workers, which bounds the calls at once; `None` if each call starts its own command.
    pub(crate) fn jobs(&self) -> Option<u16> {
        match &self.answerer {
            Answerer::Once(_) | Answerer::Mcp(_) => None,
            Answerer::Lines(lines) => Some(lines.count()),
        }
    }

    /// A server whose tools, and so the methods of the service, may become others.
    pub(crate) fn server(&self) -> Option<&Server> {
        match &self.answerer {
            Answerer::Once(_) | Answerer::Lines(_) => None,
            Answerer::Mcp(server) => Some(server),
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
        match &self.answerer {
            Answerer::Once(_) => {}
            Answerer::Lines(lines) => lines.join(),
            Answerer::Mcp(server) => server.join(),
        }
        self.guard.end();
    }
}
