//! Calls with streams.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_sink::Sink as _;
use ipc_client::{AsyncService, Client, ErrorCode, Service, StreamMethod};
use serde::{Deserialize, Serialize};

use crate::{Broker, on_each, two_threads, within};

/// `sums`: numbers of the caller, and the sum after each of them; the reply is their count.
#[derive(Debug, Serialize, Deserialize)]
struct Sums;

impl StreamMethod for Sums {
    const SERVICE: &'static str = "sums";
    const METHOD: &'static str = "";
    type In = i64;
    type Out = i64;
    type Reply = u32;
    type Error = String;
}

/// The service as futures.
fn sums(broker: &Broker) -> AsyncService {
    AsyncService::new("sums").address(&broker.address()).stream(|_: Sums, mut items, mut out, _| async move {
        let (mut sum, mut count) = (0, 0);
        while let Some(item) = items.next().await {
            sum += item?;
            count += 1;
            out.send(&sum).await?;
        }
        Ok(count)
    })
}

#[test]
fn items_go_both_ways_between_futures() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = sums(&broker).start().await.unwrap();
        let (mut up, mut down) = broker.client().await.stream(&Sums).await.unwrap().split();
        let sending = tokio::spawn(async move {
            for number in 1..=10_000 {
                up.send(&number).await.unwrap();
            }
            up.finish();
        });
        let mut last = 0;
        while let Some(sum) = down.next().await {
            last = sum.unwrap();
        }
        assert_eq!(last, 50_005_000);
        assert_eq!(down.end().await.unwrap(), 10_000);
        sending.await.unwrap();
    });
}

#[test]
fn futures_and_threads_understand_each_other() {
    let broker = Broker::start();
    let runtime = two_threads();
    {
        let _serving = runtime.block_on(within(sums(&broker).start())).unwrap();
        let mut call = Client::connect_to(&broker.address()).unwrap().stream(&Sums).unwrap();
        call.send(&2).unwrap();
        call.send(&3).unwrap();
        assert_eq!((call.next().unwrap().unwrap(), call.next().unwrap().unwrap()), (2, 5));
        assert_eq!(call.end().unwrap(), 2);
    }
    let service = Service::new("threads").address(&broker.address()).stream(|_: Sums, items, mut out, _| {
        let mut count = 0;
        for item in items {
            out.send(&item?)?;
            count += 1;
        }
        Ok(count)
    });
    let _serving = service.start().unwrap();
    runtime.block_on(within(async {
        let remote = ipc_client::AsyncRemote::new(&broker.client().await).named("threads");
        let mut call = remote.stream(&Sums).await.unwrap();
        call.send(&2).await.unwrap();
        assert_eq!(call.next().await.unwrap().unwrap(), 2);
        assert_eq!(call.end().await.unwrap(), 1);
    }));
}

#[test]
fn a_sender_waits_for_a_receiver_that_takes_nothing() {
    let broker = Broker::start();
    on_each(|| async {
        let go = Arc::new(tokio::sync::Notify::new());
        let wait = go.clone();
        let service = AsyncService::new("sums").address(&broker.address());
        let service = service.stream(move |_: Sums, mut items, _, _| {
            let wait = wait.clone();
            async move {
                wait.notified().await;
                let mut count = 0;
                while let Some(item) = items.next().await {
                    item?;
                    count += 1;
                }
                Ok(count)
            }
        });
        let _serving = service.start().await.unwrap();
        let client = broker.client().await;
        let (mut up, down) = client.stream(&Sums).await.unwrap().split();
        let sent = Arc::new(AtomicI64::new(0));
        let counter = sent.clone();
        let sending = tokio::spawn(async move {
            for number in 0..1_000 {
                poll_fn(|context| Pin::new(&mut up).poll_ready(context)).await.unwrap();
                Pin::new(&mut up).start_send(number).unwrap();
                poll_fn(|context| Pin::new(&mut up).poll_flush(context)).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
            }
            poll_fn(|context| Pin::new(&mut up).poll_close(context)).await.unwrap();
        });
        while sent.load(Ordering::SeqCst) < 256 {
            client.ping().await.unwrap();
        }
        for _ in 0..20 {
            client.ping().await.unwrap();
        }
        assert_eq!(sent.load(Ordering::SeqCst), 256);
        go.notify_one();
        assert_eq!(down.end().await.unwrap(), 1_000);
        sending.await.unwrap();
    });
}

#[test]
fn dropping_a_call_ends_the_items_of_its_service() {
    let broker = Broker::start();
    on_each(|| async {
        let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let service = AsyncService::new("sums").address(&broker.address());
        let service = service.stream(move |_: Sums, mut items, _, _| {
            let ended = crate::services::Dropped(told.clone());
            async move {
                let _ended = ended;
                while let Some(item) = items.next().await {
                    item?;
                }
                std::future::pending().await
            }
        });
        let _serving = service.start().await.unwrap();
        let mut call = broker.client().await.stream(&Sums).await.unwrap();
        call.send(&1).await.unwrap();
        drop(call);
        ended.recv().await.unwrap();
    });
}

#[test]
fn a_service_without_streams_refuses_them() {
    let broker = Broker::start();
    on_each(|| async {
        let service = AsyncService::new("sums").address(&broker.address());
        let _serving = service.method(|echo: crate::Echo, _| async move { Ok(echo.0) }).start().await.unwrap();
        let call = broker.client().await.stream(&Sums).await.unwrap();
        assert_eq!(call.end().await.unwrap_err().code(), ErrorCode::INVALID);
    });
}

/// `sums` as another build has it: with other numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Narrow;

impl StreamMethod for Narrow {
    const SERVICE: &'static str = "sums";
    const METHOD: &'static str = "";
    type In = i32;
    type Out = i32;
    type Reply = u32;
    type Error = String;
}

/// The service of another build, as futures.
fn narrow(broker: &Broker) -> AsyncService {
    AsyncService::new("sums").address(&broker.address()).stream(|_: Narrow, mut items, mut out, _| async move {
        let (mut sum, mut count) = (0, 0);
        while let Some(item) = items.next().await {
            sum += item?;
            count += 1;
            out.send(&sum).await?;
        }
        Ok(count)
    })
}

#[test]
fn a_service_of_another_build_reads_all_items_of_futures() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = narrow(&broker).start().await.unwrap();
        let (mut up, mut down) = broker.client().await.stream(&Sums).await.unwrap().split();
        let sending = tokio::spawn(async move {
            for number in 1..=1_000 {
                up.send(&number).await.unwrap();
            }
            up.finish();
        });
        let mut last = 0;
        while let Some(sum) = down.next().await {
            last = sum.unwrap();
        }
        assert_eq!((last, down.end().await.unwrap()), (500_500, 1_000));
        sending.await.unwrap();
    });
}

#[test]
fn an_item_that_a_sink_has_kept_goes_along_with_the_second_call() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = narrow(&broker).start().await.unwrap();
        let (mut up, mut down) = broker.client().await.stream(&Sums).await.unwrap().split();
        for number in [1, 2] {
            poll_fn(|context| Pin::new(&mut up).poll_ready(context)).await.unwrap();
            Pin::new(&mut up).start_send(number).unwrap();
        }
        poll_fn(|context| Pin::new(&mut up).poll_close(context)).await.unwrap();
        assert_eq!(down.next().await.unwrap().unwrap(), 1);
        assert_eq!(down.next().await.unwrap().unwrap(), 3);
        assert_eq!(down.end().await.unwrap(), 2);
    });
}

#[test]
fn a_blocking_caller_and_a_service_of_futures_bridge_two_builds() {
    let broker = Broker::start();
    two_threads().block_on(within(async {
        let _serving = narrow(&broker).start().await.unwrap();
        let address = broker.address();
        let calling = tokio::task::spawn_blocking(move || {
            let mut call = Client::connect_to(&address).unwrap().stream(&Sums).unwrap();
            call.send(&5).unwrap();
            assert_eq!(call.next().unwrap().unwrap(), 5);
            call.end().unwrap()
        });
        assert_eq!(calling.await.unwrap(), 1);
    }));
}
