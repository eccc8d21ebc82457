//! A typed call: in which encoding it is asked, what its end means, and when it is asked again.
//!
//! ```text
//! routes.ask(now, timeout) -> Asked: encode the request as it says and send it
//!          ^                            | how the call ended
//!          | Settled::Again             v
//!          +----------------------- Asked::settle -> Settled::Done(reply or error)
//! ```
//!
//! A link sends and waits; it decides nothing of this.

use std::time::{Duration, Instant};

use ipc_protocol::{Encoding, ErrorCode, Routing};

use crate::{
    app_error::MethodError,
    error::{CallError, Error},
    method::Method,
    session::{
        Outcome, Outgoing, Patience, Payload,
        outgoing::{Answer, What, decode_reply},
        patience::to_ms,
        routes::Routes,
    },
};

/// A typed call that is under way: all but its request.
#[derive(Debug)]
pub(crate) struct Asked {
    routing: Routing,
    pub(crate) encoding: Encoding,
    pub(crate) patience: Patience,
}

/// What the end of a typed call comes to.
pub(crate) enum Settled<M: Method> {
    /// The call is over.
    Done(Result<M::Reply, CallError<M::Error>>),
    /// The service has not run it and takes another encoding: it is to be sent once more.
    Again,
}

impl Routes {
    /// Prepares a call of `M`, to the service called `name` or to the one that `M` names.
    ///
    /// # Errors
    /// `usage` if a name is not valid.
    pub(crate) fn ask<M: Method>(
        &mut self,
        name: Option<&str>,
        now: Instant,
        timeout: Option<Duration>,
    ) -> Result<Asked, Error> {
        let (routing, encoding) = self.of::<M>(name)?;
        Ok(Asked { routing, encoding, patience: Patience::new(now, timeout.map_or(0, to_ms)) })
    }

    /// Prepares the second attempt of a call whose service does not take bincode; calls to come start with JSON.
    pub(crate) fn ask_again(&mut self, now: Instant, asked: &mut Asked) {
        self.prefer_json(asked.routing.service());
        asked.encoding = Encoding::JSON;
        asked.patience = asked.patience.rest(now);
    }
}

impl Asked {
    /// The call with its encoded request.
    pub(crate) fn outgoing<'a>(&'a self, body: Payload<'a>) -> Outgoing<'a> {
        Outgoing {
            what: What::Call,
            routing: &self.routing,
            encoding: self.encoding,
            timeout_ms: self.patience.timeout_ms(),
            body,
            answer: Answer::Wanted,
            parent: None,
        }
    }

    /// Reads how the call ended.
    pub(crate) fn settle<M: Method>(&self, outcome: Outcome) -> Settled<M> {
        match outcome {
            Err(error) if error.code() == ErrorCode::UNSUPPORTED_ENCODING && self.encoding == Encoding::BINCODE => {
                Settled::Again
            }
            outcome => Settled::Done(read_end::<M>(outcome)),
        }
    }
}

/// What a typed call that is not asked again has ended with.
pub(crate) fn read_end<M: Method>(outcome: Outcome) -> Result<M::Reply, CallError<M::Error>> {
    match outcome {
        Ok(response) => decode_reply(M::SERVICE, M::METHOD, &response).map_err(CallError::Failed),
        Err(error) => Err(said_no(error)),
    }
}

/// An `app_error` that carries a value of the application's type is that value. A service in another language may send a text
/// alone: bytes that are empty or are not such a value.
pub(crate) fn said_no<E: MethodError>(error: Error) -> CallError<E> {
    let value = error.body();
    if error.code() != ErrorCode::APP_ERROR || (value.encoding == Encoding::BYTES && value.body.is_empty()) {
        return CallError::Failed(error);
    }
    match E::decode(value.encoding, &value.body) {
        Some(value) => CallError::App(value),
        None => CallError::Failed(error),
    }
}
