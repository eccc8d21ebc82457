//! Locks that futures hold.

use std::{future::Future, pin::pin, sync::Arc, task::Poll};

use ipc_client::{AsyncClient, AsyncService, Attempts, CallError, ErrorCode, control, control::operation};
use tokio::sync::Notify;

use crate::{
    Broker, Echo,
    common::{Door, PATIENCE},
    on_each, one_thread, two_threads, within,
};

/// Polls a future once, which isn't ready.
async fn begin(future: impl Future<Output = impl Sized> + Unpin) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

async fn waiters(client: &AsyncClient, lock: &str) -> Option<u32> {
    let request = control::Show { name: lock.parse().unwrap() };
    client.ask::<operation::Show>(&request, None).await.ok()?.lock.map(|lock| lock.waiters)
}

#[test]
fn a_lock_is_held_by_one_until_its_guard_is_dropped() {
    let broker = Broker::start();
    on_each(|| async {
        let (client, other) = (broker.client().await, broker.client().await);
        let guard = client.lock("job").await.unwrap();
        assert!(guard.is_held() && guard.name().as_str() == "job");
        assert!(other.locking("job").try_take_async().await.unwrap().is_none());
        let taking = tokio::spawn(async move { other.lock("job").await });
        drop(guard);
        let guard = taking.await.unwrap().unwrap();
        guard.release().await.unwrap();
        assert_eq!(waiters(&client, "job").await, None);
    });
}

#[test]
fn a_lock_with_places_is_held_by_as_many() {
    let broker = Broker::start();
    on_each(|| async {
        let clients = [broker.client().await, broker.client().await, broker.client().await];
        let _one = clients[0].locking("pool").places(2).take_async().await.unwrap();
        let _two = clients[1].locking("pool").places(2).take_async().await.unwrap();
        assert!(clients[2].locking("pool").places(2).try_take_async().await.unwrap().is_none());
        let late = clients[2].locking("pool").places(2).timeout(std::time::Duration::from_millis(20));
        assert_eq!(late.take_async().await.unwrap_err().code(), ErrorCode::DEADLINE);
        assert_eq!(clients[2].locking("pool").places(0).take_async().await.unwrap_err().code(), ErrorCode::USAGE);
    });
}

#[test]
fn a_future_that_is_dropped_in_the_line_leaves_it() {
    let broker = Broker::start();
    on_each(|| async {
        let (client, other) = (broker.client().await, broker.client().await);
        let guard = other.lock("job").await.unwrap();
        let mut taking = Box::pin(client.lock("job"));
        begin(&mut taking).await;
        client.ping().await.unwrap();
        assert_eq!(waiters(&other, "job").await, Some(1));
        drop(taking);
        client.ping().await.unwrap();
        assert_eq!(waiters(&other, "job").await, Some(0));
        drop(guard);
    });
}

#[test]
fn a_lock_that_was_granted_to_a_future_which_is_dropped_is_given_back() {
    let broker = Broker::start();
    // On one thread nothing is read while the future is polled, so that it cannot see the grant at once.
    one_thread().block_on(within(async {
        let (client, other) = (broker.client().await, broker.client().await);
        let mut taking = Box::pin(client.lock("job"));
        begin(&mut taking).await;
        client.ping().await.unwrap();
        assert_eq!(waiters(&other, "job").await, Some(0));
        drop(taking);
        other.lock("job").await.unwrap().release().await.unwrap();
    }));
}

#[test]
fn tasks_that_share_a_client_cannot_give_back_the_locks_of_each_other() {
    let broker = Broker::start();
    on_each(|| async {
        let (client, other) = (broker.client().await, broker.client().await);
        let guard = client.lock("job").await.unwrap();
        let mut again = Box::pin(client.lock("job"));
        let refused = again.as_mut().await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::INVALID);
        drop(again);
        client.ping().await.unwrap();
        assert!(other.locking("job").try_take_async().await.unwrap().is_none());
        drop(guard);
        client.lock("job").await.unwrap().release().await.unwrap();
    });
}

#[test]
fn a_lock_is_lost_with_its_connection() {
    let runtime = two_threads();
    let door = Door::open();
    let client = runtime.block_on(AsyncClient::connect_to(&door.address())).unwrap();
    let locking = runtime.spawn(async move { client.lock("job").await });
    let mut line = door.accept();
    let id = line.expect_call().id;
    line.reply(id, &control::Empty {});
    let guard = runtime.block_on(within(locking)).unwrap().unwrap();
    assert!(guard.is_held());
    drop(line);
    let error = runtime.block_on(within(guard.lost()));
    assert_eq!(error.code(), ErrorCode::BROKER_LOST);
    assert!(!guard.is_held());
}

#[test]
fn attempts_are_made_until_there_is_a_service() {
    let broker = Broker::start();
    on_each(|| async {
        let client = broker.client().await;
        let (failed, address) = (Arc::new(Notify::new()), broker.address());
        let has_failed = failed.clone();
        let starting = tokio::spawn(async move {
            has_failed.notified().await;
            AsyncService::new("echo").address(&address).quick(|echo: Echo, _| Ok(echo.0)).start().await
        });
        let echoed = Attempts::within(PATIENCE)
            .run_async(async |left| client.call_within(&Echo(5), left).await.inspect_err(|_| failed.notify_one()));
        assert_eq!(echoed.await.unwrap(), 5);
        starting.await.unwrap().unwrap().stop().await;
        let once = Attempts::within(std::time::Duration::ZERO);
        let Err(CallError::Failed(error)) = once.run_async(|left| client.call_within(&Echo(5), left)).await else {
            panic!("it was answered")
        };
        assert_eq!(error.code(), ErrorCode::NO_SERVICE);
    });
}
