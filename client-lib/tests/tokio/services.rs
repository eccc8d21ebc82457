//! The service's side.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipc_client::{AsyncClient, AsyncService, CallError, Change, Client, Encoding, ErrorCode, Failed};
use ipc_protocol::Message;
use tokio::sync::{Notify, mpsc};

use crate::{
    Broker, Echo,
    common::{Add, Door},
    on_each, two_threads, within,
};

/// Tells when it is dropped.
pub(crate) struct Dropped(pub(crate) mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Makes calls whose time is over before they are answered, until one of them has run, and was dropped.
async fn until_dropped(client: &AsyncClient, is_dropped: &mut mpsc::UnboundedReceiver<()>) {
    let soon = Duration::from_millis(50);
    loop {
        let error = client.call_within(&Echo(0), soon).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::DEADLINE);
        if tokio::time::timeout(soon, is_dropped.recv()).await.is_ok() {
            return;
        }
    }
}

#[test]
fn an_async_method_is_dropped_when_its_caller_stops_waiting() {
    on_each(|| async {
        let broker = Broker::start();
        let (dropped, mut is_dropped) = mpsc::unbounded_channel();
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let service = AsyncService::new("echo").address(&broker.address()).method(move |_: Echo, _| {
            let (dropped, begun) = (Dropped(dropped.clone()), begun.clone());
            async move {
                let _dropped = dropped;
                begun.send(()).unwrap();
                std::future::pending().await
            }
        });
        let _serving = service.start().await.unwrap();
        let client = broker.client().await;
        let call = client.start(Echo(1)).await.unwrap();
        has_begun.recv().await.unwrap();
        assert!(is_dropped.try_recv().is_err());
        drop(call);
        is_dropped.recv().await.unwrap();
        // The same when the caller is out of time, and when it dies.
        until_dropped(&client, &mut is_dropped).await;
        while has_begun.try_recv().is_ok() {}
        let other = broker.client().await;
        let call = other.start(Echo(1)).await.unwrap();
        has_begun.recv().await.unwrap();
        drop((call, other));
        is_dropped.recv().await.unwrap();
    });
}

#[test]
fn no_more_calls_run_than_the_window_allows() {
    on_each(|| async {
        let broker = Broker::start();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = most.clone();
        let service = AsyncService::new("echo").address(&broker.address()).window(3).method(move |echo: Echo, _| {
            let (running, most) = (running.clone(), counted.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                (0..10).fold(tokio::task::yield_now(), |_, _| tokio::task::yield_now()).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(echo.0)
            }
        });
        let _serving = service.start().await.unwrap();
        let client = broker.client().await;
        let mut calls = Vec::new();
        for number in 0..100 {
            calls.push(client.start(Echo(number)).await.unwrap());
        }
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.wait().await.unwrap(), number as u64);
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most} ran at once");
    });
}

#[test]
fn errors_and_panics_are_answered_and_the_service_goes_on() {
    on_each(|| async {
        let broker = Broker::start();
        let service = AsyncService::new("echo").address(&broker.address()).method(|echo: Echo, _| async move {
            tokio::task::yield_now().await;
            match echo.0 {
                1 => panic!("on purpose"),
                2 => Err(Failed::busy("not now")),
                3 => Err(Failed::from("three".to_owned())),
                other => Ok(other),
            }
        });
        let _serving = service.start().await.unwrap();
        let client = broker.client().await;
        let error = client.call(&Echo(1)).await.unwrap_err();
        assert!(error.code() == ErrorCode::INTERNAL && error.to_string().contains("on purpose"), "{error}");
        assert_eq!(client.call(&Echo(2)).await.unwrap_err().code(), ErrorCode::BUSY);
        assert!(matches!(client.call(&Echo(3)).await, Err(CallError::App(text)) if text == "three"));
        assert_eq!(client.call(&Echo(4)).await.unwrap(), 4);
        let no_method = client.call_bytes(ipc_client::Request::new("echo.other".parse().unwrap(), "")).await;
        assert_eq!(no_method.unwrap_err().code(), ErrorCode::NO_METHOD);
    });
}

#[test]
fn a_method_calls_another_service_on_behalf_of_its_caller() {
    on_each(|| async {
        let broker = Broker::start();
        let (dropped, mut is_dropped) = mpsc::unbounded_channel();
        let inner = AsyncService::new("inner").address(&broker.address()).method(move |echo: Echo, context| {
            let dropped = Dropped(dropped.clone());
            async move {
                let _dropped = dropped;
                assert!(context.time_left() <= Duration::from_secs(5));
                if echo.0 == 0 { std::future::pending().await } else { Ok(echo.0 + 1) }
            }
        });
        let _inner = inner.start().await.unwrap();
        let outer = AsyncService::new("echo").address(&broker.address()).method(|echo: Echo, context| async move {
            let inner = ipc_client::AsyncRemote::new(context.client()).named("inner");
            Ok(inner.call(&echo).await? + 1)
        });
        let outer = outer.start().await.unwrap();
        let client = broker.client().await;
        let soon = Duration::from_secs(5);
        assert_eq!(client.call_within(&Echo(1), soon).await.unwrap(), 3);
        is_dropped.recv().await.unwrap();
        until_dropped(&client, &mut is_dropped).await;
        outer.stop().await;
        assert_eq!(client.call(&Echo(1)).await.unwrap_err().code(), ErrorCode::NO_SERVICE);
    });
}

#[test]
fn a_service_that_is_stopped_answers_what_runs() {
    on_each(|| async {
        let broker = Broker::start();
        let (go, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (gone, began) = (go.clone(), begun.clone());
        let service = AsyncService::new("echo").address(&broker.address()).method(move |echo: Echo, _| {
            let (go, begun) = (gone.clone(), began.clone());
            async move {
                begun.notify_one();
                go.notified().await;
                Ok(echo.0)
            }
        });
        let serving = service.start().await.unwrap();
        let call = broker.client().await.start(Echo(7)).await.unwrap();
        begun.notified().await;
        let stopping = tokio::spawn(async move { serving.stop().await });
        go.notify_one();
        assert_eq!(call.wait().await.unwrap(), 7);
        stopping.await.unwrap();
    });
}

#[test]
fn a_service_comes_back_after_the_broker_died() {
    let runtime = two_threads();
    let door = Door::open();
    let (told, changes) = std::sync::mpsc::channel();
    let (dropped, mut is_dropped) = mpsc::unbounded_channel();
    let service = AsyncService::new("calc")
        .address(&door.address())
        .on_change(move |change| told.send(matches!(change, Change::Returned)).unwrap())
        .method(move |add: Add, _| {
            let dropped = Dropped(dropped.clone());
            async move {
                let _dropped = dropped;
                if add.a == 0 { std::future::pending().await } else { Ok(add.a + add.b) }
            }
        });
    let starting = runtime.spawn(service.start());
    let (mut line, register) = door.accept_service();
    assert_eq!(register.window, 256);
    let serving = runtime.block_on(within(starting)).unwrap().unwrap();
    line.deliver(7, Encoding::BINCODE, &Add { a: 0, b: 2 });
    line.deliver(8, Encoding::BINCODE, &Add { a: 1, b: 2 });
    assert_eq!(line.expect_reply().id, 8);
    drop(line);
    runtime.block_on(within(is_dropped.recv())).unwrap();
    let (mut line, _) = door.accept_service();
    line.deliver(9, Encoding::JSON, &Add { a: 2, b: 2 });
    assert_eq!(line.expect_reply().id, 9);
    assert_eq!(changes.iter().take(2).collect::<Vec<_>>(), [false, true]);
    let stopping = runtime.spawn(async move { serving.stop().await });
    line.expect_unregister();
    line.expect_end();
    runtime.block_on(within(stopping)).unwrap();
}

#[test]
fn more_calls_than_a_broker_may_send_are_refused() {
    let runtime = two_threads();
    let door = Door::open();
    let service = AsyncService::new("calc").address(&door.address()).window(1);
    let starting = runtime.spawn(service.method(|_: Add, _| std::future::pending()).start());
    let (mut line, _) = door.accept_service();
    let _serving = runtime.block_on(within(starting)).unwrap().unwrap();
    (1..=3).for_each(|id| line.deliver(id, Encoding::JSON, &Add { a: 0, b: 0 }));
    let refused = line.expect_error();
    assert_eq!((refused.id, refused.code), (3, ErrorCode::BUSY));
    line.cancel(1, ErrorCode::CANCELLED);
    let cancelled = line.expect_error();
    assert_eq!((cancelled.id, cancelled.code), (1, ErrorCode::CANCELLED));
    line.send(Message::Ping(5));
    assert_eq!(line.next(), Message::Pong(5));
}

#[test]
fn a_blocking_client_calls_an_async_service() {
    let broker = Broker::start();
    let runtime = two_threads();
    let service = AsyncService::new("echo").address(&broker.address());
    let starting = service.method(|echo: Echo, _| async move { Ok(echo.0) }).start();
    let _serving = runtime.block_on(within(starting)).unwrap();
    let client = Client::connect_to(&broker.address()).unwrap();
    assert_eq!(client.call(&Echo(5)).unwrap(), 5);
}
