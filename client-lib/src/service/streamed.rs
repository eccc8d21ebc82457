//! Answering calls with streams.

use std::sync::Arc;

use ipc_protocol::{Call, Encoding, ErrorCode, Failure, Message, Streams};

use super::{
    Failed, Incoming,
    methods::{Built, answer_any, answer_request, target},
};
use crate::{
    link::blocking::Connection,
    request::Response,
    session::Frames,
    stream::{Items, ItemsBytes, Place, Receiving, Sending, Sink, SinkBytes},
    stream_method::StreamMethod,
};

/// Answers a call of a typed method with streams.
pub(super) fn answer_stream<M: StreamMethod>(
    connection: &Arc<Connection>,
    call: &Call,
    built: Built,
    answers: &mut Frames,
    run: impl FnOnce(M, Items<M::In>, Sink<M::Out>) -> Result<M::Reply, Failed<M::Error>>,
) {
    if let Some(text) = unfit::<M>(call) {
        return refuse(call, answers, text);
    }
    let Some(place) = entered(connection, call) else {
        return refuse(call, answers, "the call has ended".to_owned());
    };
    let (items, sink) = (Items::new(Receiving::new(place.clone())), Sending::new(place.clone()));
    // A request that can't be read is refused before its caller may send an item: it can make the call again in another encoding.
    answer_request(call, built, answers, |request| {
        welcome(&place, call);
        run(request, items, Sink::new(sink))
    });
    place.close();
}

/// Answers a call with streams with what an untyped method makes of it.
pub(super) fn answer_any_stream(
    connection: &Arc<Connection>,
    call: &Call,
    answers: &mut Frames,
    run: impl FnOnce(&Incoming, ItemsBytes, SinkBytes) -> Result<Response, Failed>,
) {
    let Some(place) = entered(connection, call) else {
        return refuse(call, answers, "the call has ended".to_owned());
    };
    let receiving = if call.streams.request && call.encoding == Encoding::BINCODE {
        Receiving::reserved(place.clone()) // the method may not take bincode, which it says before it looks at an item
    } else {
        welcome(&place, call);
        Receiving::new(place.clone())
    };
    let (items, sink) = (ItemsBytes::new(receiving), Sending::new(place.clone()));
    answer_any(call, answers, |incoming| run(incoming, items, SinkBytes::new(sink)));
    place.close();
}

/// Why a call doesn't fit a method, if its streams are others.
pub(crate) fn unfit<M: StreamMethod>(call: &Call) -> Option<String> {
    let wanted = Streams { request: M::UPLOAD, reply: M::DOWNLOAD };
    (call.streams != wanted).then(|| format!("{} takes {}", target(call), spell(wanted)))
}

/// Refuses a call that has streams and should have none, or the other way round.
pub(crate) fn refuse(call: &Call, answers: &mut Frames, text: String) {
    answers.push_message(Message::Error(Failure::new(call.id, ErrorCode::INVALID, text)));
}

fn entered(connection: &Arc<Connection>, call: &Call) -> Option<Arc<Place>> {
    Place::of_delivered(connection, call).map(Arc::new)
}

fn welcome(place: &Place, call: &Call) {
    if call.streams.request {
        place.welcome_items();
    }
}

fn spell(streams: Streams) -> &'static str {
    match (streams.request, streams.reply) {
        (true, true) => "items and sends some",
        (true, false) => "items and sends none",
        (false, true) => "no items and sends some",
        (false, false) => "no items and sends none",
    }
}
