//! Events, published and subscribed to.

use std::future::poll_fn;

use ipc_client::{AsyncClient, Notice, Publication, control::Keeping};
use std::pin::Pin;

use crate::{
    Broker,
    common::{Door, told},
    on_each, two_threads, within,
};

fn publication(body: &str) -> Publication {
    Publication::new("news.local".parse().unwrap(), body.to_owned())
}

fn body(notice: Option<ipc_client::Result<Notice>>) -> String {
    match notice {
        Some(Ok(Notice::Event(event))) => String::from_utf8_lossy(&event.body).into_owned(),
        other => panic!("no event: {other:?}"),
    }
}

#[test]
fn an_event_is_told_to_who_has_subscribed() {
    let broker = Broker::start();
    on_each(|| async {
        let (client, other) = (broker.client().await, broker.client().await);
        let mut news = client.subscribe("news.").await.unwrap();
        assert_eq!(other.publish_bytes(&publication("rain")).await.unwrap(), 1);
        assert_eq!(body(news.next().await), "rain");
        client.announce_bytes(&publication("sun")).await.unwrap();
        let next = poll_fn(|context| futures_core::Stream::poll_next(Pin::new(&mut news), context)).await;
        assert_eq!(body(next), "sun");
        drop(news);
        client.ping().await.unwrap(); // behind which the broker has taken the end of the subscription
        assert_eq!(other.publish_bytes(&publication("snow")).await.unwrap(), 0);
        assert!(client.subscribe("..").await.is_err());
    });
}

#[test]
fn what_is_not_taken_waits_within_its_queue_and_the_rest_is_counted() {
    let runtime = two_threads();
    let door = Door::open();
    let client = runtime.block_on(AsyncClient::connect_to(&door.address())).unwrap();
    let subscribing = client.subscription("news.").policy(Keeping::DropOldest).queue(2).start_async();
    let subscribing = runtime.spawn(subscribing);
    let mut line = door.accept();
    let request = line.expect_subscribe(5);
    assert_eq!(request.queue, 2);
    let mut news = runtime.block_on(within(subscribing)).unwrap().unwrap();
    line.send_all((1..=4).map(|number| told(5, "news.local", number, number.to_string())));
    let ping = runtime.spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    line.expect_ping();
    runtime.block_on(within(ping)).unwrap().unwrap();
    let told = runtime.block_on(within(async { (news.next().await, news.next().await, news.next().await) }));
    assert!(matches!(told.0, Some(Ok(Notice::Gap(2)))), "{told:?}");
    assert_eq!((body(told.1), body(told.2)), ("3".to_owned(), "4".to_owned()));
}

#[test]
fn a_subscription_is_made_again_on_the_next_connection() {
    let runtime = two_threads();
    let door = Door::open();
    let client = runtime.block_on(AsyncClient::connect_to(&door.address())).unwrap();
    let subscribing = runtime.spawn({
        let client = client.clone();
        async move { client.subscribe("news.").await }
    });
    let mut line = door.accept();
    line.expect_subscribe(5);
    let mut news = runtime.block_on(within(subscribing)).unwrap().unwrap();
    line.send(told(5, "news.local", 1, "before"));
    drop(line);
    let taking = runtime.spawn(async move {
        let told = (news.next().await, news.next().await, news.next().await);
        (news, told)
    });
    let mut line = door.accept();
    line.expect_subscribe(6);
    line.send(told(6, "news.local", 2, "after"));
    let (news, (before, resumed, after)) = runtime.block_on(within(taking)).unwrap();
    assert!(matches!(resumed, Some(Ok(Notice::Resumed))), "{resumed:?}");
    assert_eq!((body(before), body(after)), ("before".to_owned(), "after".to_owned()));
    drop(news);
    line.expect_unsubscribe();
}
