//! What a service tells the broker about itself, and how it keeps its name.

use std::{sync::mpsc, thread};

use ipc_client::{
    Change, Description, Encoding, ErrorCode, MethodDescription, MethodName, PeerNumber, Polled, Service, control,
};
use ipc_protocol::{Message, codec};

use crate::{
    adder,
    common::{ADD, Add, Door, Line, PATIENCE, Text, delivered},
    start, stop, sum,
};

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
fn mistakes_in_what_is_asked_for_are_errors_of_start() {
    let usage = |service: Service| service.start().unwrap_err();
    assert_eq!(usage(Service::new("Calc")).code(), ErrorCode::USAGE);
    let twice = usage(adder().quick(|add: Add, _| sum(add)));
    assert_eq!(twice.code(), ErrorCode::USAGE);
    assert!(twice.text().contains("add"), "{twice}");
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
fn a_refusal_to_register_again_ends_the_service() {
    let door = Door::open();
    let (serving, line) = start(&door, adder());
    drop(line);
    let mut line = door.accept();
    let register = line.expect_call();
    line.refuse(register.id, ErrorCode::DENIED, "not any more");
    assert_eq!(serving.wait().unwrap_err().code(), ErrorCode::DENIED);
}

/// A service whose turns the test takes, registered.
fn polled(door: &Door) -> (Polled, Line, control::Register) {
    let service = adder().address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.poll().unwrap());
        let (line, register) = door.accept_service();
        (starting.join().unwrap(), line, register)
    })
}

/// Takes turns until it is done.
fn turn_until(polled: &mut Polled, is_done: impl Fn() -> bool) {
    while !is_done() {
        assert!(polled.turn().unwrap().is_continue());
    }
}

fn about(text: &str) -> Description {
    let mut description = Description::default();
    description.about = text.to_owned();
    description
}

#[test]
fn what_a_service_says_anew_is_registered_anew_and_calls_go_on() {
    let door = Door::open();
    let (mut polled, mut line, before) = polled(&door);
    polled.describe(about("sums"));
    turn_until(&mut polled, || !line.is_silent());
    line.deliver(1, Encoding::BINCODE, &ADD);
    line.expect_unregister();
    let after = line.expect_register();
    assert_eq!(after.name, before.name);
    assert_eq!(after.methods, before.methods);
    assert_ne!(after.description, before.description);
    turn_until(&mut polled, || !line.is_silent());
    assert_eq!(line.expect_reply().id, 1);
    polled.describe(about("sums"));
    assert!(polled.turn().unwrap().is_continue());
    assert!(line.is_silent(), "the same again is no news");
}

#[test]
fn a_service_that_loses_its_name_while_it_says_something_else_comes_back() {
    let door = Door::open();
    let (mut polled, mut line, _) = polled(&door);
    polled.describe(about("sums"));
    turn_until(&mut polled, || !line.is_silent());
    line.expect_unregister();
    let register = line.expect_call();
    line.refuse(register.id, ErrorCode::NAME_TAKEN, "pid 7 holds it");
    turn_until(&mut polled, || door.is_knocked_at());
    thread::scope(|scope| {
        let broker = scope.spawn(|| door.accept_service());
        turn_until(&mut polled, || broker.is_finished());
        let (mut line, register) = broker.join().unwrap();
        assert_eq!(register.name.unwrap().as_str(), "calc");
        line.deliver(1, Encoding::BINCODE, &ADD);
        turn_until(&mut polled, || !line.is_silent());
        assert_eq!(line.expect_reply().id, 1);
    });
}

#[test]
fn more_names_of_methods_than_a_registration_holds_are_left_out() {
    let door = Door::open();
    let mut description = about("many");
    description.methods =
        (0..500).map(|at| (format!("method{at}").parse().unwrap(), MethodDescription::default())).collect();
    let service = Service::new("many").described(description).address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, register) = door.accept_service();
        assert!(register.methods.is_empty() && register.description.is_some());
        stop(starting.join().unwrap(), line);
    });
}
