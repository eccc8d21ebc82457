//! Bodies of bytes: calls, streams, and services that take any method.

use ipc_client::{AsyncService, Encoding, ErrorCode, Failed, Publication, Request, Response, Streams, control};
use ipc_protocol::Message;

use crate::{
    Broker, Echo,
    common::{Add, Door, delivered},
    on_each, two_threads, within,
};

const BOTH: Streams = Streams { request: true, reply: true };

/// Answers with what was called, and echoes items; `echo` itself is typed, and quick.
fn anything(broker: &Broker) -> AsyncService {
    AsyncService::new("echo")
        .about("Echoes.")
        .address(&broker.address())
        .quick(|echo: Echo, _| if echo.0 == 13 { panic!("thirteen") } else { Ok(echo.0) })
        .any(|incoming, context| async move {
            context.client().ping().await?;
            match &*incoming.method {
                "deny" => Err(Failed::denied("not for you")),
                method => Ok(Response::bytes(format!("{method} {}", String::from_utf8_lossy(&incoming.body)))),
            }
        })
        .any_stream(|incoming, mut items, mut sink, _| async move {
            while let Some(item) = items.next().await {
                let item = item?;
                sink.send(item.encoding, item.body).await?;
            }
            Ok(Response::bytes(incoming.method))
        })
}

fn request(target: &str, body: &'static str) -> Request {
    Request::new(target.parse().unwrap(), body)
}

#[test]
fn methods_that_are_not_named_are_answered_with_bodies_as_they_are() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = anything(&broker).start().await.unwrap();
        let client = broker.client().await;
        assert_eq!(&client.call_bytes(request("echo.upper", "a")).await.unwrap().body[..], b"upper a");
        let denied = client.call_bytes(request("echo.deny", "a")).await.unwrap_err();
        assert_eq!(denied.code(), ErrorCode::DENIED);
        let started = client.start_bytes(request("echo.lower", "b")).await.unwrap();
        assert_eq!(&started.wait().await.unwrap().body[..], b"lower b");
        assert_eq!(client.call(&Echo(7)).await.unwrap(), 7);
        assert_eq!(client.call(&Echo(13)).await.unwrap_err().code(), ErrorCode::INTERNAL);
        assert_eq!(client.describe(&"echo".parse().unwrap(), None).await.unwrap().about, "Echoes.");
    });
}

#[test]
fn items_of_bytes_go_both_ways_in_their_encodings() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = anything(&broker).start().await.unwrap();
        let mut call = broker.client().await.stream_bytes(request("echo.items", ""), BOTH).await.unwrap();
        call.send("one").await.unwrap();
        call.send_encoded(Encoding::JSON, "2").await.unwrap();
        assert_eq!(call.next().await.unwrap().unwrap(), Response::bytes("one"));
        assert_eq!(call.next().await.unwrap().unwrap(), Response::new(Encoding::JSON, "2"));
        call.finish();
        assert!(call.next().await.is_none());
        assert_eq!(&call.end().await.unwrap().body[..], b"items");
    });
}

#[test]
fn halves_of_a_call_of_bytes_live_in_tasks_of_their_own() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = anything(&broker).start().await.unwrap();
        let call = broker.client().await.stream_bytes(request("echo.items", ""), BOTH).await.unwrap();
        let (mut up, mut down) = call.split();
        let sending = tokio::spawn(async move {
            for number in 0..1_000_u32 {
                up.send(number.to_string()).await?;
            }
            up.finish();
            Ok::<_, ipc_client::Error>(())
        });
        for number in 0..1_000_u32 {
            assert_eq!(down.next().await.unwrap().unwrap(), Response::bytes(number.to_string()));
        }
        sending.await.unwrap().unwrap();
        assert_eq!(&down.end().await.unwrap().body[..], b"items");
    });
}

#[test]
fn quick_calls_of_one_read_are_answered_with_one_write_and_take_a_larger_window() {
    let runtime = two_threads();
    let door = Door::open();
    let service = AsyncService::new("calc").address(&door.address()).quick(|add: Add, _| Ok(add.a + add.b));
    let starting = runtime.spawn(service.start());
    let (mut line, register) = door.accept_service();
    assert_eq!(register.window, 1_024);
    let _serving = runtime.block_on(within(starting)).unwrap().unwrap();
    line.send_all((1..=3).map(|id| Message::Call(delivered(id, "add", Encoding::JSON, r#"{"a":1,"b":2}"#))));
    assert_eq!(line.next_read().len(), 3);
}

#[test]
fn operations_of_the_broker_are_called_by_name_and_a_ping_has_its_time() {
    let broker = Broker::start();
    on_each(|| async {
        let client = broker.client().await;
        let page: control::Names = client.control("list", &control::List::default(), None).await.unwrap();
        assert!(page.names.is_empty());
        client.ping_within(std::time::Duration::from_secs(5)).await.unwrap();
        let topic = Publication::new("news.local".parse().unwrap(), "rain");
        assert_eq!(client.publish_bytes(&topic).await.unwrap(), 0);
    });
}
