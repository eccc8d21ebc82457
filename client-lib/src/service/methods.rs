//! The methods of a service, and how a typed one is made of bytes.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use ipc_protocol::{
    Call, Encoding, ErrorCode, Failure, FieldTag, Fingerprint, Header, Kind, Message, MethodName, Reply,
    codec::{self, CodecError},
    limits::MAX_BODY,
};
use serde::de::DeserializeOwned;

use super::{Context, Failed, Incoming};
use crate::{
    app_error::MethodError,
    contract::Contract,
    description::MethodDescription,
    error::Error,
    method::Method,
    request::Response,
    session::{
        Frames,
        outgoing::{misnamed, reply_encoding},
    },
};

/// Answers a call: exactly one frame is pushed.
pub(crate) type Responder = Arc<dyn Fn(&Call, &Context, &mut Frames) + Send + Sync>;

/// Where a method runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the thread that reads.
    Here,
    Pool,
}

/// How a method is answered.
pub(crate) struct Way<R = Responder> {
    pub(super) place: Place,
    /// Whether it takes calls with streams, and only those.
    pub(crate) is_streamed: bool,
    /// What is said of it; nothing of a method that takes any name.
    about: Option<MethodDescription>,
    pub(crate) answer: R,
}

/// The methods of a service, sorted by name: for the few that there are, comparing names is faster than hashing them.
pub(crate) struct Methods<R = Responder> {
    by_name: Vec<(MethodName, Way<R>)>,
    any: Option<Way<R>>,
    any_stream: Option<Way<R>>,
}

impl<R> Default for Methods<R> {
    fn default() -> Self {
        Self { by_name: Vec::new(), any: None, any_stream: None }
    }
}

impl<R> Methods<R> {
    pub(crate) fn add(&mut self, name: MethodName, place: Place, contract: Contract, answer: R) {
        if let Err(at) = self.position(name.as_str().as_bytes()) {
            let is_streamed = contract.is_streamed;
            let about = Some(MethodDescription::of_contract(contract));
            self.by_name.insert(at, (name, Way { place, is_streamed, about, answer }));
        }
    }

    pub(crate) fn set_any(&mut self, is_streamed: bool, answer: R) {
        let way = Some(Way { place: Place::Pool, is_streamed, about: None, answer });
        if is_streamed { self.any_stream = way } else { self.any = way }
    }

    /// How the method of a frame is answered. One that takes no streams, or nothing else, is found all the same.
    pub(crate) fn find(&self, method: &[u8], is_streamed: bool) -> Option<&Way<R>> {
        match self.position(method) {
            Ok(at) => self.by_name.get(at).map(|(_, way)| way),
            Err(_) if is_streamed => self.any_stream.as_ref().or(self.any.as_ref()),
            Err(_) => self.any.as_ref().or(self.any_stream.as_ref()),
        }
    }

    /// The name of a further method.
    ///
    /// # Errors
    /// `usage` if it isn't valid, or there is one already.
    pub(crate) fn new_name(&self, name: &str) -> Result<MethodName, Error> {
        match MethodName::parse(name) {
            Ok(parsed) if !self.has(&parsed) => Ok(parsed),
            Ok(_) => Err(Error::new(ErrorCode::USAGE, format!("the method {name:?} is given twice"))),
            Err(error) => Err(misnamed("method", name, &error)),
        }
    }

    /// Whether any of them takes streams.
    pub(super) fn have_streams(&self) -> bool {
        self.ways().any(|way| way.is_streamed)
    }

    pub(crate) fn has(&self, name: &MethodName) -> bool {
        self.position(name.as_str().as_bytes()).is_ok()
    }

    pub(crate) fn need_pool(&self) -> bool {
        self.ways().any(|way| way.place == Place::Pool)
    }

    fn ways(&self) -> impl Iterator<Item = &Way<R>> {
        self.any.iter().chain(&self.any_stream).chain(self.by_name.iter().map(|(_, way)| way))
    }

    /// What is said of each named method.
    pub(crate) fn described(&self) -> BTreeMap<MethodName, MethodDescription> {
        let about = |way: &Way<R>| way.about.clone().unwrap_or_default();
        self.by_name.iter().map(|(name, way)| (name.clone(), about(way))).collect()
    }

    /// The named methods, sorted.
    pub(crate) fn names(&self) -> Vec<MethodName> {
        self.by_name.iter().map(|(name, _)| name.clone()).collect()
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|(known, _)| known.as_str().as_bytes().cmp(name))
    }
}

/// The fingerprint of the types that a method was built with, if they can be traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built(pub(crate) Option<Fingerprint>);

impl Built {
    /// Refuses bincode from a caller that was built with other types: it would be read as something else. In JSON, members have
    /// names.
    fn check(self, call: &Call) -> Result<(), Failure> {
        let Some(own) = self.0.filter(|_| call.encoding == Encoding::BINCODE) else { return Ok(()) };
        match call.routing.fingerprint() {
            Some(caller) if caller != own => {
                let text = format!(
                    "the caller and {} were built with different types, which bincode can't bridge; json may",
                    target(call)
                );
                Err(Failure::new(call.id, ErrorCode::UNSUPPORTED_ENCODING, text))
            }
            _ => Ok(()),
        }
    }
}

/// Answers a call of a typed method: in the encoding of the request, and in JSON to a caller that sent bytes.
pub(crate) fn answer_typed<M: Method>(
    call: &Call,
    built: Built,
    answers: &mut Frames,
    run: impl FnOnce(M) -> Result<M::Reply, Failed<M::Error>>,
) {
    answer_request(call, built, answers, run);
}

/// Answers a call with what is made of its request.
pub(super) fn answer_request<Q: DeserializeOwned, A: serde::Serialize, E: MethodError>(
    call: &Call,
    built: Built,
    answers: &mut Frames,
    run: impl FnOnce(Q) -> Result<A, Failed<E>>,
) {
    guarded(call, answers, |answers| {
        let request = read_request(call, built)?;
        push_end(call, answers, run(request))
    });
}

/// Reads the request of a call.
///
/// # Errors
/// What the call is to be answered with.
pub(crate) fn read_request<Q: DeserializeOwned>(call: &Call, built: Built) -> Result<Q, Failure> {
    built.check(call)?;
    codec::decode(call.encoding, &call.body).map_err(|error| undecodable(call.id, &error))
}

/// Pushes the reply of a call.
///
/// # Errors
/// What the call is to be answered with instead.
pub(crate) fn push_end<A: serde::Serialize, E: MethodError>(
    call: &Call,
    answers: &mut Frames,
    end: Result<A, Failed<E>>,
) -> Result<(), Failure> {
    match end {
        Ok(reply) => push_reply(call, answers, &reply),
        Err(failed) => Err(failed.into_failure(call.id, reply_encoding(call.encoding))),
    }
}

/// Answers a call with what an untyped method makes of it.
pub(super) fn answer_any(call: &Call, answers: &mut Frames, run: impl FnOnce(&Incoming) -> Result<Response, Failed>) {
    guarded(call, answers, |answers| push_response(call, answers, run(&incoming(call))));
}

/// Pushes the reply of an untyped method.
///
/// # Errors
/// What the call is to be answered with instead.
pub(crate) fn push_response(call: &Call, answers: &mut Frames, end: Result<Response, Failed>) -> Result<(), Failure> {
    match end {
        Ok(response) if response.body.len() > MAX_BODY as usize => Err(too_long(call.id, response.body.len())),
        Ok(Response { encoding, body }) => {
            answers.push_message(Message::Reply(Reply { id: call.id, encoding, body: body.into() }));
            Ok(())
        }
        Err(failed) => Err(failed.into_failure(call.id, call.encoding)),
    }
}

/// Runs a method, and the encoding of its types, which is the application's code too: a panic is answered and goes no further.
pub(crate) fn guarded(call: &Call, answers: &mut Frames, answer: impl FnOnce(&mut Frames) -> Result<(), Failure>) {
    let failure = match catch_unwind(AssertUnwindSafe(|| answer(answers))) {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            answers.repair();
            panicked(call, &*panic)
        }
    };
    answers.push_message(Message::Error(failure));
}

/// What a call is answered with whose method has panicked.
pub(crate) fn panicked(call: &Call, panic: &(dyn Any + Send)) -> Failure {
    let text = format!("{} panicked: {}", target(call), panic_text(panic));
    Failure::new(call.id, ErrorCode::INTERNAL, text)
}

fn push_reply<T: serde::Serialize>(call: &Call, answers: &mut Frames, reply: &T) -> Result<(), Failure> {
    let encoding = reply_encoding(call.encoding);
    let header = Header { encoding, ..Header::new(Kind::REPLY, call.id) };
    answers.push_encoded(header, |out| codec::encode_into(encoding, reply, out)).map_err(|error| match error {
        CodecError::TooLarge(len) => too_long(call.id, len),
        error => Failure::new(call.id, ErrorCode::INTERNAL, format!("the reply cannot be sent: {error}")),
    })
}

fn undecodable(id: u64, error: &CodecError) -> Failure {
    match error {
        CodecError::UnknownEncoding(_) => Failure::new(id, ErrorCode::UNSUPPORTED_ENCODING, error.to_string()),
        _ => Failure::new(id, ErrorCode::INVALID, error.to_string()),
    }
}

/// Not `too_large`: the broker would call a retry safe, and the method has run.
fn too_long(id: u64, len: usize) -> Failure {
    let text = format!("the reply would take {len} bytes, the limit is {MAX_BODY}; the call has run");
    Failure::new(id, ErrorCode::INTERNAL, text)
}

/// A call as an untyped method has it.
pub(crate) fn incoming(call: &Call) -> Incoming {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Incoming {
        service: text(call.routing.service()),
        method: text(call.routing.method()),
        encoding: call.encoding,
        body: call.body.bytes().clone(),
        one_way: call.one_way,
        trace: call.routing.text(FieldTag::TRACE).map(str::to_owned),
    }
}

/// What was called, as a person writes it.
pub(crate) fn target(call: &Call) -> String {
    let service = String::from_utf8_lossy(call.routing.service());
    match call.routing.method() {
        [] => service.into_owned(),
        method => format!("{service}.{}", String::from_utf8_lossy(method)),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ipc_protocol::{Frame, Retry, Routing};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Half {
        of: i64,
    }

    impl Method for Half {
        const SERVICE: &'static str = "calc";
        const METHOD: &'static str = "half";
        type Reply = i64;
        type Error = String;
    }

    fn call(encoding: Encoding, body: &[u8]) -> Call {
        Call {
            id: 7,
            one_way: false,
            streams: ipc_protocol::Streams::NONE,
            encoding,
            timeout_ms: 1_000,
            caller: Bytes::new(),
            routing: Routing::to("calc", "half").build(),
            body: body.to_vec().into(),
        }
    }

    fn half(encoding: Encoding, body: &[u8]) -> Message {
        let mut answers = Frames::default();
        answer_typed::<Half>(&call(encoding, body), Built(None), &mut answers, |half| match half.of {
            13 => panic!("thirteen"),
            odd if odd % 2 != 0 => Err(format!("{odd} is odd").into()),
            even => Ok(even / 2),
        });
        only(&answers)
    }

    fn only(answers: &Frames) -> Message {
        let frame = Bytes::copy_from_slice(answers.next().unwrap());
        assert_eq!(frame.len(), answers.queued());
        Message::decode(Frame::from_datagram(frame, MAX_BODY).unwrap()).unwrap()
    }

    fn failure(message: Message) -> Failure {
        match message {
            Message::Error(failure) => failure,
            other => panic!("no error: {other:?}"),
        }
    }

    #[test]
    fn the_reply_comes_in_the_encoding_of_the_request() {
        let reply = |encoding, body: &'static [u8]| {
            Message::Reply(Reply { id: 7, encoding, body: Bytes::from_static(body).into() })
        };
        assert_eq!(half(Encoding::BINCODE, &[16]), reply(Encoding::BINCODE, &[8]));
        assert_eq!(half(Encoding::JSON, br#"{"of":8}"#), reply(Encoding::JSON, b"4"));
        assert_eq!(half(Encoding::BYTES, br#"{"of":8}"#), reply(Encoding::JSON, b"4"));
    }

    #[test]
    fn a_wrong_field_is_invalid_and_named() {
        let failure = failure(half(Encoding::BYTES, br#"{"off":8}"#));
        assert_eq!((failure.code, failure.retry), (ErrorCode::INVALID, Retry::Safe));
        assert!(failure.text.contains("off"), "{}", failure.text);
    }

    #[test]
    fn an_application_error_has_text_and_value() {
        let failure = failure(half(Encoding::JSON, br#"{"of":7}"#));
        assert_eq!((failure.code, failure.retry), (ErrorCode::APP_ERROR, Retry::Unknown));
        assert_eq!((failure.text.as_str(), &failure.body[..]), ("7 is odd", &b"\"7 is odd\""[..]));
    }

    #[test]
    fn a_panic_is_internal_and_says_where() {
        let failure = failure(half(Encoding::JSON, br#"{"of":13}"#));
        assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
        assert_eq!(failure.text, "calc.half panicked: thirteen");
    }

    #[test]
    fn an_unknown_encoding_is_refused_with_what_is_known() {
        let failure = failure(half(Encoding(9), b"?"));
        assert_eq!((failure.code, failure.retry), (ErrorCode::UNSUPPORTED_ENCODING, Retry::Safe));
        assert!(failure.text.contains("json"), "{}", failure.text);
    }

    #[test]
    fn a_reply_over_the_limit_has_run() {
        let call = call(Encoding::BYTES, b"");
        let mut answers = Frames::default();
        answer_any(&call, &mut answers, |_| Ok(Response::bytes(vec![0; MAX_BODY as usize + 1])));
        let failure = failure(only(&answers));
        assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
    }
}
