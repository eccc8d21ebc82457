//! Calls that a method makes.

use std::sync::{Mutex, mpsc};

use ipc_client::{CallError, Client, Encoding, ErrorCode, Retry, Service};
use ipc_protocol::{Call, Message, codec};

use crate::{
    common::{ADD, Door, PATIENCE, Text, TooLarge, delivered},
    start, stop,
};

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
