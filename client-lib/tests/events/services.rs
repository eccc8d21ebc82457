//! Events on the connection of a service.

use std::{sync::mpsc, thread};

use ipc_client::{Encoding, ErrorCode, Notice, Service, control};

use crate::{
    Room,
    common::{Door, PATIENCE, Text, told},
    next, next_event,
};

#[test]
fn a_method_publishes_on_behalf_of_its_call() {
    let door = Door::open();
    let service = Service::new("calc").address(&door.address()).method(|text: Text, context| {
        let heard = context.client().publish(&Room("attic"), &21.5)?;
        Ok(format!("{} {heard}", text.0))
    });
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (mut line, _) = door.accept_service();
        let _serving = starting.join().unwrap();
        line.deliver(1, Encoding::JSON, &Text("heard by".into()));
        let event = line.expect_event();
        line.reply_json(event.id, &control::Published { subscribers: 2 });
        assert_eq!(&line.expect_reply().body[..], br#""heard by 2""#);
        drop(line);
    });
}

#[test]
fn a_subscription_of_a_service_is_read_by_its_thread_and_comes_back_with_it() {
    let door = Door::open();
    let service = Service::new("calc").address(&door.address()).method(|text: Text, _| Ok(text.0));
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (mut line, _) = door.accept_service();
        let serving = starting.join().unwrap();
        let client = serving.client().clone();
        let (tell, told_so) = mpsc::channel();
        let subscribing = scope.spawn(move || {
            let mut subscription = client.subscribe("t.").unwrap();
            tell.send(next_event(&mut subscription).sequence).unwrap();
            assert_eq!(next(&mut subscription), Notice::Resumed);
            subscription.next().unwrap().unwrap_err().code()
        });
        line.expect_subscribe(5);
        line.send(told(5, "t.x", 1, ""));
        assert_eq!(told_so.recv_timeout(PATIENCE).unwrap(), Some(1));
        drop(line);

        let (mut line, _) = door.accept_service();
        line.expect_subscribe(6);
        let stopping = scope.spawn(move || drop(serving));
        line.expect_unregister();
        stopping.join().unwrap();
        assert_eq!(subscribing.join().unwrap(), ErrorCode::BROKER_LOST);
    });
}
