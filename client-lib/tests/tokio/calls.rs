//! The caller's side.

use std::time::Duration;

use ipc_client::{
    AsyncClient, AsyncService, CallError, Client, ErrorCode, Failed, Request, Retry, Service, control,
    control::operation,
};
use tokio::task::JoinSet;

use crate::{
    Broker, Echo,
    common::{ADD, Door, Line},
    computed, on_each, one_thread, resident, two_threads, within,
};

/// A service in threads, which refuses odd numbers above ten.
fn echo(broker: &Broker) -> ipc_client::Serving {
    let answer = |echo: Echo, _: &ipc_client::Context| match echo.0 {
        odd if odd > 10 && odd % 2 == 1 => Err(Failed::from(format!("{odd} is odd"))),
        even => Ok(even),
    };
    Service::new("echo").address(&broker.address()).quick(answer).start().unwrap()
}

#[test]
fn every_kind_of_call_works_on_one_thread_and_on_many() {
    let broker = Broker::start();
    let _echo = echo(&broker);
    on_each(|| async {
        let client = broker.client().await;
        assert_eq!(client.call(&Echo(2)).await.unwrap(), 2);
        assert_eq!(client.call_within(&Echo(4), Duration::from_secs(5)).await.unwrap(), 4);
        assert!(matches!(client.call(&Echo(13)).await, Err(CallError::App(text)) if text == "13 is odd"));
        assert_eq!(client.start(Echo(6)).await.unwrap().wait().await.unwrap(), 6);
        client.tell(&Echo(8)).await.unwrap();
        let response = client.call_bytes(Request::new("echo".parse().unwrap(), "10")).await.unwrap();
        assert_eq!(&response.body[..], b"10");
        let list = client.ask::<operation::List>(&control::List::default(), None).await.unwrap();
        assert_eq!(list.names.len(), 1);
        let description = client.describe(&"echo".parse().unwrap(), None).await.unwrap();
        assert_eq!(description.methods.len(), 1);
        client.ping().await.unwrap();
        assert_ne!(client.peer().await.unwrap().0, 0);
        let missing = client.call_bytes(Request::new("missing".parse().unwrap(), "")).await.unwrap_err();
        assert_eq!((missing.code(), missing.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    });
}

#[test]
fn a_service_that_takes_json_alone_is_asked_again_in_json() {
    let broker = Broker::start();
    let service = Service::new("echo").address(&broker.address()).any(|incoming, _| match incoming.encoding {
        ipc_client::Encoding::JSON => Ok(ipc_client::Response::new(ipc_client::Encoding::JSON, "5")),
        _ => Err(Failed::new(ErrorCode::UNSUPPORTED_ENCODING, "json alone")),
    });
    let _serving = service.start().unwrap();
    on_each(|| async { assert_eq!(broker.client().await.call(&Echo(5)).await.unwrap(), 5) });
}

#[test]
fn dropping_a_call_cancels_it() {
    let runtime = two_threads();
    let _entered = runtime.enter();
    let (client, mut line) = opened();
    let call = runtime.spawn(async move { client.call(&ADD).await });
    line.greet();
    let id = line.expect_call().id;
    call.abort();
    let cancel = line.expect_cancel();
    assert_eq!((cancel.id, cancel.reason), (id, ErrorCode::CANCELLED));
}

#[test]
fn ten_thousand_calls_end_once_each_in_bounded_memory() {
    let broker = Broker::start();
    let _echo = echo(&broker);
    for runtime in [one_thread(), two_threads()] {
        let before = resident();
        runtime.block_on(within(async {
            let client = broker.client().await;
            let mut calls = JoinSet::new();
            for number in 0..10_000_u64 {
                let client = client.clone();
                calls.spawn(async move { (number * 2, client.call(&Echo(number * 2)).await) });
            }
            let (mut answered, mut busy) = (0, 0);
            while let Some(ended) = calls.join_next().await {
                match ended.unwrap() {
                    (number, Ok(echoed)) if number == echoed => answered += 1,
                    (_, Err(CallError::Failed(error))) if error.code() == ErrorCode::BUSY => busy += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(answered + busy, 10_000);
            assert!(answered >= 1_000, "{answered} were answered");
            assert_eq!(client.call(&Echo(1)).await.unwrap(), 1);
        }));
        let grown = resident().saturating_sub(before);
        assert!(grown < 128 * 1024, "{grown} KiB");
    }
}

#[test]
fn a_client_that_waits_computes_nothing() {
    let runtime = one_thread();
    let broker = Broker::start();
    runtime.block_on(within(async {
        let service = AsyncService::new("echo").address(&broker.address());
        let _serving = service.method(|_: Echo, _| std::future::pending()).start().await.unwrap();
        let client = broker.client().await;
        let _news = client.subscribe("news.").await.unwrap();
        let calls: Vec<_> = {
            let mut calls = Vec::new();
            for number in 0..100 {
                calls.push(client.start(Echo(number)).await.unwrap());
            }
            calls
        };
        client.ping().await.unwrap();
        let before = computed();
        tokio::time::sleep(Duration::from_millis(500)).await; // the time that is measured
        let spent = computed() - before;
        assert!(spent < Duration::from_millis(50), "{spent:?}");
        drop(calls);
    }));
}

#[test]
fn calls_end_with_the_broker_and_the_next_one_finds_another() {
    let runtime = two_threads();
    let door = Door::open();
    let client = runtime.block_on(AsyncClient::connect_to(&door.address())).unwrap();
    let call = || {
        let client = client.clone();
        runtime.spawn(async move { client.call(&ADD).await })
    };
    let calls = [call(), call()];
    let mut line = door.accept();
    line.expect_call();
    line.expect_call();
    drop(line);
    for call in calls {
        let Err(CallError::Failed(error)) = runtime.block_on(within(call)).unwrap() else { panic!("it was answered") };
        assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    }
    let call = call();
    let mut line = door.accept();
    let id = line.expect_call().id;
    line.reply(id, &3_i64);
    assert_eq!(runtime.block_on(within(call)).unwrap().unwrap(), 3);
}

#[test]
fn a_connection_that_is_given_is_never_made_anew() {
    let runtime = one_thread();
    let _entered = runtime.enter();
    let (client, line) = opened();
    drop(line);
    let error = runtime.block_on(within(client.ping())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BROKER_LOST);
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(AsyncClient::from_fd(theirs.into()).unwrap_err().code(), ErrorCode::USAGE);
}

#[test]
fn when_the_runtime_ends_its_calls_do_and_another_runtime_connects_anew() {
    let broker = Broker::start();
    let _echo = echo(&broker);
    let first = one_thread();
    let client = first.block_on(broker.client());
    assert_eq!(first.block_on(within(client.call(&Echo(1)))).unwrap(), 1);
    drop(first);
    assert_eq!(one_thread().block_on(within(client.call(&Echo(2)))).unwrap(), 2);
}

#[test]
fn a_broker_that_breaks_the_protocol_ends_the_calls() {
    let runtime = two_threads();
    let _entered = runtime.enter();
    let (client, mut line) = opened();
    let call = runtime.spawn(async move { client.call(&ADD).await });
    line.greet();
    line.expect_call();
    line.send_raw(&[0xff; 64]);
    let Err(CallError::Failed(error)) = runtime.block_on(within(call)).unwrap() else { panic!("it was answered") };
    assert!(error.code() == ErrorCode::BROKER_LOST && error.text().contains("broke the protocol"), "{error}");
}

#[test]
fn what_is_announced_before_the_end_has_left() {
    let broker = Broker::start();
    let mut news = Client::connect_to(&broker.address()).unwrap().subscribe("news.").unwrap();
    one_thread().block_on(within(async {
        let client = broker.client().await;
        for number in 0..100_u32 {
            let body = number.to_string();
            client.announce_bytes(&ipc_client::Publication::new("news.local".parse().unwrap(), body)).await.unwrap();
        }
        client.flush().await.unwrap();
    }));
    for number in 0..100_u32 {
        let Some(Ok(ipc_client::Notice::Event(event))) = news.next() else { panic!("no event {number}") };
        assert_eq!(&event.body[..], number.to_string().as_bytes());
    }
}

#[test]
fn calls_wait_while_the_broker_takes_nothing() {
    let runtime = two_threads();
    let _entered = runtime.enter();
    let (client, mut line) = opened();
    let send = || {
        let client = client.clone();
        runtime.spawn(async move { client.call(&crate::common::Text("x".repeat(256 * 1024))).await })
    };
    let calls: Vec<_> = (0..32).map(|_| send()).collect();
    line.greet();
    for _ in 0..32 {
        let id = line.expect_call().id;
        line.reply(id, &"y".to_owned());
    }
    for call in calls {
        assert_eq!(runtime.block_on(within(call)).unwrap().unwrap(), "y");
    }
}

/// A client on the runtime that was entered, and the broker's end of its connection. It is greeted when it has sent something.
fn opened() -> (AsyncClient, Line) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    (AsyncClient::from_fd(theirs.into()).unwrap(), Line::new(ours))
}
