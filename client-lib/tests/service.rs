//! A service against a broker that follows a script.
#![forbid(unsafe_code)]

mod common;

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use common::{Add, Door, Line, PATIENCE, Text, TooLarge, delivered, wait_for, wait_with};
use ipc_client::{
    CallError, Change, Client, Encoding, ErrorCode, Failed, Method, MethodName, PeerNumber, Response, Retry, Service,
    Serving, Stopper, control,
};
use ipc_protocol::{Call, Failure, Message, Reply, codec};
use rustix::event::PollFlags;

const ADD: Add = Add { a: 1, b: 2 };

fn sum(add: Add) -> Result<i64, Failed<TooLarge>> {
    Ok(add.a.checked_add(add.b).ok_or(TooLarge { a: add.a, b: add.b })?)
}

fn adder() -> Service {
    Service::new("calc").quick(|add: Add, _| sum(add))
}

/// Starts a service at a door, and registers it.
fn start(door: &Door, service: Service) -> (Serving, Line) {
    let service = service.address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, _) = door.accept_service();
        (starting.join().unwrap(), line)
    })
}

/// Stops a service that has nothing to do.
fn stop(serving: Serving, mut line: Line) {
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        line.expect_unregister();
        line.expect_end();
        stopping.join().unwrap();
        serving.wait().unwrap();
    });
}

#[test]
fn a_call_that_comes_together_with_the_end_of_the_registration_is_answered() {
    let door = Door::open();
    let ((began, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let service = Service::new("calc").quick(move |text: Text, _| {
        began.send(()).unwrap();
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Ok(text.0)
    });
    let (serving, mut line) = start(&door, service);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        let unregister = line.expect_call();
        let last = delivered(1, "text", Encoding::JSON, "\"last\"");
        let answer = Reply { id: unregister.id, encoding: Encoding::JSON, body: "{}".into() };
        line.send_all([Message::Call(last), Message::Reply(answer)]);
        begun.recv_timeout(PATIENCE).unwrap();
        go.send(()).unwrap();
        assert_eq!(line.expect_reply().id, 1);
        line.expect_end();
        stopping.join().unwrap();
    });
}

#[test]
fn the_registration_says_what_is_offered() {
    let door = Door::open();
    let service = adder().quick(|text: Text, _| Ok(text.0)).shared().address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, register) = door.accept_service();
        assert_eq!(register.name.unwrap().as_str(), "calc");
        assert_eq!((register.window, register.shared), (1_024, true));
        assert_eq!(register.methods.iter().map(MethodName::as_str).collect::<Vec<_>>(), ["add", "text"]);
        let serving = starting.join().unwrap();
        assert_eq!(serving.peer(), PeerNumber(42));
        stop(serving, line);
    });
}

#[test]
fn a_pool_takes_as_many_calls_as_it_has_threads() {
    let door = Door::open();
    let service = adder().method(|text: Text, _| Ok(text.0)).threads(3).address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, register) = door.accept_service();
        assert_eq!(register.window, 3);
        stop(starting.join().unwrap(), line);
    });
}

#[test]
fn a_service_answers_in_the_encoding_of_the_caller() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.deliver(5, Encoding::BINCODE, &ADD);
    let reply = line.expect_reply();
    assert_eq!((reply.id, reply.encoding, &reply.body[..]), (5, Encoding::BINCODE, &[6][..]));
    line.deliver(6, Encoding::JSON, &ADD);
    let reply = line.expect_reply();
    assert_eq!((reply.id, reply.encoding, &reply.body[..]), (6, Encoding::JSON, &b"3"[..]));
    line.deliver(7, Encoding::BYTES, &ADD);
    assert_eq!(line.expect_reply().encoding, Encoding::JSON);
    stop(serving, line);
}

#[test]
fn quick_replies_to_one_read_leave_with_one_write() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    let body = codec::encode(Encoding::BINCODE, &ADD).unwrap();
    line.send_all((1..=50).map(|id| Message::Call(delivered(id, "add", Encoding::BINCODE, body.clone()))));
    assert_eq!(line.next_read().len(), 50);
    stop(serving, line);
}

#[test]
fn calls_behind_the_answer_to_the_registration_are_served() {
    let door = Door::open();
    let service = adder().address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let mut line = door.accept();
        let register = line.expect_call();
        let registered = codec::encode(Encoding::JSON, &control::Registered { peer: PeerNumber(42) }).unwrap();
        let body = codec::encode(Encoding::BINCODE, &ADD).unwrap();
        line.send_all([
            Message::Reply(ipc_protocol::Reply { id: register.id, encoding: Encoding::JSON, body: registered.into() }),
            Message::Call(delivered(1, "add", Encoding::BINCODE, body)),
        ]);
        assert_eq!(line.expect_reply().id, 1);
        stop(starting.join().unwrap(), line);
    });
}

/// `calc.never`: a method that never says no.
#[derive(serde::Serialize, serde::Deserialize)]
struct Never;

impl Method for Never {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "never";
    type Reply = ();
    type Error = std::convert::Infallible;
}

#[test]
fn a_method_that_never_says_no_says_so() {
    let door = Door::open();
    let (serving, mut line) = start(&door, Service::new("calc").quick(|_: Never, _| Ok(())));
    line.deliver(1, Encoding::JSON, &Never);
    assert_eq!(&line.expect_reply().body[..], b"null");
    stop(serving, line);
}

#[test]
fn an_error_of_the_service_has_its_code_its_value_and_its_text() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.deliver(1, Encoding::JSON, &Add { a: i64::MAX, b: 1 });
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.app_code), (ErrorCode::APP_ERROR, 7));
    assert_eq!(failure.text, format!("the sum of {} and 1 is too large", i64::MAX));
    assert_eq!(&failure.body[..], format!(r#"{{"a":{},"b":1}}"#, i64::MAX).as_bytes());
    stop(serving, line);
}

#[test]
fn a_typed_method_can_refuse_a_call_that_it_has_not_run() {
    let door = Door::open();
    let service = Service::new("calc").quick(|text: Text, _| {
        Err(match text.0.as_str() {
            "busy" => Failed::busy("full"),
            "denied" => Failed::denied("not you"),
            _ => Failed::invalid("what?"),
        })
    });
    let (serving, mut line) = start(&door, service);
    let mut refusal = |word: &str| {
        line.deliver(1, Encoding::BINCODE, &Text(word.into()));
        let failure = line.expect_error();
        (failure.code, failure.retry, failure.text)
    };
    assert_eq!(refusal("busy"), (ErrorCode::BUSY, Retry::Safe, "full".into()));
    assert_eq!(refusal("denied"), (ErrorCode::DENIED, Retry::Safe, "not you".into()));
    assert_eq!(refusal(""), (ErrorCode::INVALID, Retry::Safe, "what?".into()));
    stop(serving, line);
}

#[test]
fn the_error_of_a_nested_call_is_not_taken_for_the_services_own() {
    let door = Door::open();
    let service = Service::new("calc").method(|_: Text, context| Ok(context.client().call(&ADD)?.to_string()));
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    let nested = line.expect_call();
    line.refuse(nested.id, ErrorCode::BUSY, "full");
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
    assert_eq!(failure.text, "a nested call ended with busy: full");
    stop(serving, line);
}

#[test]
fn a_panic_is_internal_for_its_caller_and_nothing_else() {
    let door = Door::open();
    let service = Service::new("calc").quick(|add: Add, _| if add.a == 13 { panic!("unlucky") } else { sum(add) });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::BINCODE, &Add { a: 13, b: 0 });
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
    assert_eq!(failure.text, "calc.add panicked: unlucky");
    line.deliver(2, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 2);
    stop(serving, line);
}

#[test]
fn a_panic_on_the_pool_costs_no_thread() {
    let door = Door::open();
    let service = Service::new("calc").threads(1);
    let service = service.method(|add: Add, _| if add.a == 13 { panic!("unlucky") } else { sum(add) });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::BINCODE, &Add { a: 13, b: 0 });
    assert_eq!(line.expect_error().code, ErrorCode::INTERNAL);
    line.deliver(2, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 2);
    stop(serving, line);
}

#[test]
fn a_nested_call_comes_back_over_the_same_connection() {
    let door = Door::open();
    let service = Service::new("calc").threads(1).method(|text: Text, context| {
        let sum = context.client().call(&ADD)?;
        Ok(format!("{}{sum}", text.0))
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::BINCODE, &Text("1 + 2 = ".into()));
    let nested = line.expect_call();
    line.reply(nested.id, &3_i64);
    let reply = line.expect_reply();
    assert_eq!(codec::decode::<String>(reply.encoding, &reply.body).unwrap(), "1 + 2 = 3");
    stop(serving, line);
}

/// A service with one method on the pool: it makes a nested call, tells how that ended, and then goes on as the test says.
fn nesting(
    then: impl Fn(&ipc_client::Context) + Send + Sync + 'static,
) -> (Service, mpsc::Receiver<Result<i64, ipc_client::Error>>) {
    let (ended, end) = mpsc::channel();
    let service = Service::new("calc").method(move |_: Text, context| {
        let nested = match context.client().call(&ADD) {
            Ok(sum) => Ok(sum),
            Err(CallError::Failed(error)) => Err(error),
            Err(other) => panic!("{other}"),
        };
        ended.send(nested).unwrap();
        then(context);
        Ok(String::new())
    });
    (service, end)
}

#[test]
fn a_nested_call_ends_when_the_caller_of_its_method_cancels() {
    let door = Door::open();
    let (service, end) = nesting(|context| assert!(context.cancel().is_cancelled()));
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::BINCODE, &Text(String::new()));
    let nested = line.expect_call();
    line.cancel(1, ErrorCode::CANCELLED);
    assert_eq!(line.expect_cancel().id, nested.id);
    let error = end.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::CANCELLED, Retry::Unknown));
    assert_eq!(line.expect_reply().id, 1);
    stop(serving, line);
}

#[test]
fn a_nested_call_has_no_longer_than_its_method() {
    let door = Door::open();
    let (service, end) = nesting(|_| {});
    let (serving, mut line) = start(&door, service);
    line.send(Message::Call(Call { timeout_ms: 5_000, ..delivered(1, "text", Encoding::JSON, "\"\"") }));
    let nested = line.expect_call();
    assert!((1..=5_000).contains(&nested.timeout_ms), "{} ms", nested.timeout_ms);
    line.reply(nested.id, &3_i64);
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().unwrap(), 3);
    assert_eq!(line.expect_reply().id, 1);
    stop(serving, line);
}

#[test]
fn a_call_through_the_context_of_a_cancelled_method_never_leaves() {
    let door = Door::open();
    let ((told, tell), (began, begun)) = (mpsc::channel(), mpsc::channel());
    let service = Service::new("calc").method(move |_: Text, context| {
        began.send(()).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        told.send(context.client().call(&ADD).unwrap_err().to_string()).unwrap();
        Ok(String::new())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    begun.recv_timeout(PATIENCE).unwrap();
    line.cancel(1, ErrorCode::DEADLINE);
    assert!(tell.recv_timeout(PATIENCE).unwrap().starts_with("deadline: "));
    assert_eq!(line.expect_reply().id, 1);
    stop(serving, line);
}

#[test]
fn a_call_that_its_method_leaves_behind_ends_with_it() {
    let door = Door::open();
    let (leave, left) = mpsc::channel();
    let service = Service::new("calc").method(move |_: Text, context| {
        leave.send((context.client().clone(), context.client().start(ADD).unwrap())).unwrap();
        Ok(String::new())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    let nested = line.expect_call();
    let replied_or_cancelled = [line.next(), line.next()];
    assert!(replied_or_cancelled.iter().any(|m| matches!(m, Message::Cancel(cancel) if cancel.id == nested.id)));
    let (client, pending) = left.recv_timeout(PATIENCE).unwrap();
    let code = |ended: CallError<TooLarge>| match ended {
        CallError::Failed(error) => error.code(),
        other => panic!("{other}"),
    };
    assert_eq!(code(pending.wait().unwrap_err()), ErrorCode::CANCELLED);
    assert_eq!(code(client.call(&ADD).unwrap_err()), ErrorCode::CANCELLED);
    let pending = client.unbound().start(ADD).unwrap();
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);
    stop(serving, line);
}

#[test]
fn the_reading_thread_refuses_to_wait_for_itself() {
    let door = Door::open();
    let client: &'static Mutex<Option<Client>> = Box::leak(Box::default());
    let service = Service::new("calc").quick(|text: Text, _| {
        let client = client.lock().unwrap().clone().unwrap();
        match client.call(&ADD) {
            Err(CallError::Failed(error)) => Err(format!("{} {}", text.0, error.code()).into()),
            other => panic!("{other:?}"),
        }
    });
    let (serving, mut line) = start(&door, service);
    *client.lock().unwrap() = Some(serving.client().clone());
    line.deliver(1, Encoding::BINCODE, &Text("refused:".into()));
    assert_eq!(line.expect_error().text, "refused: usage");
    stop(serving, line);
}

#[test]
fn a_call_knows_its_caller_and_its_deadline() {
    let door = Door::open();
    let service = Service::new("calc").method(|_: Text, context| {
        let left = context.time_left();
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
        let caller = context.caller();
        Ok(format!("{} {} {:?}", caller.identity.uid, caller.identity.gid, caller.peer))
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    assert_eq!(&line.expect_reply().body[..], br#""1000 100 Some(PeerNumber(7))""#);
    stop(serving, line);
}

#[test]
fn a_cancel_reaches_the_call_that_runs() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").method(move |_: Text, context| {
        let (told, hear) = mpsc::channel();
        context.cancel().on_cancel(move |reason| told.send(reason).unwrap());
        began.send(()).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Err(format!("stopped by {}", hear.recv_timeout(PATIENCE).unwrap()).into())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    begun.recv_timeout(PATIENCE).unwrap();
    line.cancel(1, ErrorCode::DEADLINE);
    assert_eq!(line.expect_error().text, "stopped by deadline");
    stop(serving, line);
}

#[test]
fn a_call_cancelled_before_its_turn_never_runs_and_is_answered() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").threads(1).window(2).method(move |text: Text, context| {
        began.send(text.0).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Ok(String::new())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text("first".into()));
    assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), "first");
    line.deliver(2, Encoding::JSON, &Text("second".into()));
    line.cancel(2, ErrorCode::CANCELLED);
    line.cancel(1, ErrorCode::CANCELLED);
    assert_eq!(line.expect_reply().id, 1);
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code, failure.retry), (2, ErrorCode::CANCELLED, Retry::Safe));
    assert!(begun.try_recv().is_err());
    stop(serving, line);
}

#[test]
fn a_broker_that_overruns_the_window_receives_busy() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").threads(1).window(1).method(move |text: Text, context| {
        began.send(()).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Ok(text.0)
    });
    let (serving, mut line) = start(&door, service);
    for id in 1..=3 {
        line.deliver(id, Encoding::JSON, &Text(String::new()));
    }
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code, failure.retry), (3, ErrorCode::BUSY, Retry::Safe));
    begun.recv_timeout(PATIENCE).unwrap();
    line.cancel(2, ErrorCode::CANCELLED);
    line.cancel(1, ErrorCode::CANCELLED);
    assert_eq!(line.expect_reply().id, 1);
    assert_eq!(line.expect_error().id, 2);
    stop(serving, line);
}

#[test]
fn an_unknown_method_is_refused_with_those_there_are() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.send(Message::Call(delivered(1, "mul", Encoding::JSON, "{}")));
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.retry), (ErrorCode::NO_METHOD, Retry::Safe));
    assert_eq!(failure.text, "calc has no method mul (it has add)");
    stop(serving, line);
}

#[test]
fn any_takes_bytes_as_they_are_and_one_way_calls_are_answered() {
    let door = Door::open();
    let service = Service::anonymous().any(|incoming, _| match incoming.method.as_str() {
        "deny" => Err(Failed::new(ErrorCode::APP_ERROR, "no").app_code(3)),
        method => Ok(Response::bytes(format!("{}.{method} {}", incoming.service, incoming.one_way))),
    });
    let (serving, mut line) = start(&door, service);
    line.send(Message::Call(Call { one_way: true, ..delivered(1, "shell", Encoding::BYTES, "\0") }));
    assert_eq!(&line.expect_reply().body[..], b"calc.shell true");
    line.send(Message::Call(delivered(2, "deny", Encoding::BYTES, "")));
    let Failure { id, code, app_code, .. } = line.expect_error();
    assert_eq!((id, code, app_code), (2, ErrorCode::APP_ERROR, 3));
    stop(serving, line);
}

#[test]
fn a_call_without_a_stamp_is_refused() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.send(Message::Call(Call { caller: bytes::Bytes::new(), ..delivered(1, "add", Encoding::JSON, "{}") }));
    assert_eq!(line.expect_error().code, ErrorCode::PROTOCOL);
    stop(serving, line);
}

#[test]
fn a_broker_that_breaks_the_protocol_is_left_and_tried_again() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.send_raw(&[0xC1; 64]);
    line.expect_end();
    let (mut line, _) = door.accept_service();
    line.deliver(1, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 1);
    stop(serving, line);
}

#[test]
fn after_the_death_of_the_broker_the_service_registers_before_anything_else() {
    let door = Door::open();
    let (serving, line) = start(&door, adder());
    drop(line);
    let (mut line, register) = door.accept_service();
    assert_eq!(register.name.unwrap().as_str(), "calc");
    line.deliver(1, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 1);
    stop(serving, line);
}

#[test]
fn the_owner_is_told_of_the_loss_of_the_broker_of_a_refusal_and_of_the_return() {
    let door = Door::open();
    let (told, changes) = mpsc::channel();
    let name = |change: &Change| match change {
        Change::Lost(_) => "lost".to_owned(),
        Change::Refused(error) => format!("refused: {}", error.code()),
        Change::Returned => "returned".to_owned(),
        _ => "news".to_owned(),
    };
    let (serving, line) = start(&door, adder().on_change(move |change| told.send(name(change)).unwrap()));
    drop(line);
    let mut refusing = door.accept();
    let register = refusing.expect_call();
    refusing.refuse(register.id, ErrorCode::NAME_TAKEN, "not yet");
    let (line, _) = door.accept_service();
    let told = || changes.recv_timeout(PATIENCE).unwrap();
    assert_eq!([told(), told(), told()], ["lost", "refused: name_taken", "returned"]);
    stop(serving, line);
}

#[test]
fn the_death_of_the_broker_cancels_what_runs_and_ends_nested_calls() {
    let door = Door::open();
    let (ended, hear) = mpsc::channel();
    let service = Service::new("calc").method(move |_: Text, context| {
        let nested = context.client().call(&ADD).map_err(|error| error.to_string());
        assert!(context.cancel().wait(PATIENCE));
        ended.send((nested.unwrap_err(), context.cancel().reason())).unwrap();
        Ok(String::new())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    line.expect_call();
    drop(line);
    let (nested, reason) = hear.recv_timeout(PATIENCE).unwrap();
    assert!(nested.starts_with("broker_lost: "), "{nested}");
    assert_eq!(reason, Some(ErrorCode::BROKER_LOST));
    let (mut line, _) = door.accept_service();
    assert!(line.is_silent(), "an answer belongs to the connection that its call came from");
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    let nested = line.expect_call();
    line.reply(nested.id, &3_i64);
    drop(line);
    drop(serving);
}

#[test]
fn a_name_that_is_taken_is_an_error_of_start() {
    let door = Door::open();
    let service = adder().address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap_err());
        let mut line = door.accept();
        let register = line.expect_call();
        line.refuse(register.id, ErrorCode::NAME_TAKEN, "pid 7 holds it");
        let error = starting.join().unwrap();
        assert_eq!((error.code(), error.text()), (ErrorCode::NAME_TAKEN, "pid 7 holds it"));
    });
}

#[test]
fn a_refusal_to_register_again_ends_the_service() {
    let door = Door::open();
    let (serving, line) = start(&door, adder());
    drop(line);
    let mut line = door.accept();
    let register = line.expect_call();
    line.refuse(register.id, ErrorCode::DENIED, "not any more");
    assert_eq!(serving.wait().unwrap_err().code(), ErrorCode::DENIED);
}

#[test]
fn mistakes_in_what_is_asked_for_are_errors_of_start() {
    let usage = |service: Service| service.start().unwrap_err();
    assert_eq!(usage(Service::new("Calc")).code(), ErrorCode::USAGE);
    let twice = usage(adder().quick(|add: Add, _| sum(add)));
    assert_eq!(twice.code(), ErrorCode::USAGE);
    assert!(twice.text().contains("add"), "{twice}");
}

#[test]
fn stop_gives_the_name_back_and_lets_a_running_call_end() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let service = Service::new("calc").method(move |_: Text, _| {
        began.send(()).unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Ok("done".to_owned())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    begun.recv_timeout(PATIENCE).unwrap();
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        line.expect_unregister();
        go.send(()).unwrap();
        assert_eq!(line.expect_reply().id, 1);
        line.expect_end();
        stopping.join().unwrap();
    });
    serving.wait().unwrap();
}

#[test]
fn a_service_that_runs_on_the_only_thread_can_be_stopped() {
    let door = Door::open();
    let stopper = Stopper::new().unwrap();
    let service = adder().stopped_by(&stopper).address(&door.address());
    thread::scope(|scope| {
        let running = scope.spawn(|| service.run());
        let (mut line, _) = door.accept_service();
        stopper.stop();
        line.expect_unregister();
        line.expect_end();
        running.join().unwrap().unwrap();
    });
}

#[test]
fn the_end_of_a_service_can_be_polled_for() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    serving.stopper().stop();
    line.expect_unregister();
    wait_for(&serving, PollFlags::IN);
    serving.wait().unwrap();
}

#[test]
fn a_service_answers_from_the_loop_of_its_program() {
    let door = Door::open();
    let stopper = Stopper::new().unwrap();
    let service = adder().method(|text: Text, _| Ok(text.0)).threads(1).stopped_by(&stopper).address(&door.address());
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut polled = service.poll().unwrap();
            let mut turns = 0;
            while polled.turn().unwrap().is_continue() {
                turns += 1;
                assert!(turns < 100, "it turns without anything to do");
                wait_with(&polled, polled.timeout());
            }
        });
        let (mut line, _) = door.accept_service();
        line.deliver(1, Encoding::JSON, &ADD);
        assert_eq!(&line.expect_reply().body[..], b"3");
        line.deliver(2, Encoding::JSON, &Text("pooled".into()));
        assert_eq!(&line.expect_reply().body[..], b"\"pooled\"");

        drop(line);
        let mut line = door.accept_with(|welcome| welcome.peer = PeerNumber(43));
        line.expect_register();
        line.deliver(1, Encoding::JSON, &ADD);
        assert_eq!(line.expect_reply().id, 1);
        stopper.stop();
        line.expect_unregister();
        line.expect_end();
        serving.join().unwrap();
    });
}

#[test]
fn a_service_without_a_broker_can_be_stopped() {
    let door = Door::open();
    let (serving, line) = start(&door, adder());
    drop((door, line));
    let began = Instant::now();
    serving.stop();
    serving.wait().unwrap();
    assert!(began.elapsed() < PATIENCE);
}
