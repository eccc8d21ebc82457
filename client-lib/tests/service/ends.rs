//! How a service ends, on a thread of its own or in the loop of its program.

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Instant,
};

use ipc_client::{Context, Encoding, Failed, PeerNumber, Service, Stopper};
use ipc_protocol::{Message, Reply};
use rustix::event::PollFlags;

use crate::{
    adder,
    common::{ADD, Door, PATIENCE, Text, delivered, wait_for, wait_with},
    start,
};

/// What a method waits at.
struct Gate {
    begun: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

impl Gate {
    fn await_call(&self) {
        self.begun.recv_timeout(PATIENCE).unwrap();
    }

    fn open(&self) {
        self.go.send(()).unwrap();
    }
}

/// A method that stops at a gate before it answers.
fn gated() -> (impl Fn(Text, &Context) -> Result<String, Failed<String>> + Send + Sync, Gate) {
    let ((began, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let method = move |text: Text, _: &Context| {
        began.send(()).unwrap();
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Ok(text.0)
    };
    (method, Gate { begun, go })
}

#[test]
fn a_call_that_comes_together_with_the_end_of_the_registration_is_answered() {
    let door = Door::open();
    let (method, gate) = gated();
    let (serving, mut line) = start(&door, Service::new("calc").quick(method));
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        let unregister = line.expect_call();
        let last = delivered(1, "text", Encoding::JSON, "\"last\"");
        let answer = Reply { id: unregister.id, encoding: Encoding::JSON, body: "{}".into() };
        line.send_all([Message::Call(last), Message::Reply(answer)]);
        gate.await_call();
        gate.open();
        assert_eq!(line.expect_reply().id, 1);
        line.expect_end();
        stopping.join().unwrap();
    });
}

#[test]
fn stop_gives_the_name_back_and_lets_a_running_call_end() {
    let door = Door::open();
    let (method, gate) = gated();
    let (serving, mut line) = start(&door, Service::new("calc").method(method));
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    gate.await_call();
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        line.expect_unregister();
        gate.open();
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
