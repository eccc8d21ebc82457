//! A service of futures and its clients without a broker.

use std::time::Duration;

use ipc_client::{
    AsyncClient, AsyncConnectedPair, AsyncService, CallError, ErrorCode, Method, Request, Retry, StreamMethod,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{Echo, on_each};

/// `echo.rest`: never answered.
#[derive(Debug, Serialize, Deserialize)]
struct Rest;

impl Method for Rest {
    const SERVICE: &'static str = "echo";
    const METHOD: &'static str = "rest";
    type Reply = ();
    type Error = String;
}

/// `echo.sums`: numbers, and the sum after each of them; the reply is their count.
#[derive(Debug, Serialize, Deserialize)]
struct Sums;

impl StreamMethod for Sums {
    const SERVICE: &'static str = "echo";
    const METHOD: &'static str = "sums";
    type In = i64;
    type Out = i64;
    type Reply = u32;
    type Error = String;
}

/// Tells of its beginning, and of its end when it is dropped.
struct Witness(UnboundedSender<&'static str>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

fn echo() -> AsyncService {
    AsyncService::new("echo")
        .method(|Echo(number), _| async move { if number == 13 { Err("thirteen".to_owned())? } else { Ok(number) } })
}

/// A service whose calls rest for ever, and what they tell.
async fn resting() -> (AsyncConnectedPair, UnboundedReceiver<&'static str>) {
    let (tell, told) = unbounded_channel();
    let service = echo().method(move |_: Rest, _| {
        let witness = Witness(tell.clone());
        async move {
            let _ = witness.0.send("begun");
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    (AsyncClient::connected_pair(service).await.unwrap(), told)
}

fn failed<T: std::fmt::Debug>(result: Result<T, CallError<String>>) -> ipc_client::Error {
    match result {
        Err(CallError::Failed(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn calls_of_futures_are_answered_and_errors_are_values() {
    on_each(|| async {
        let pair = AsyncClient::connected_pair(echo()).await.unwrap();
        for number in 0..10 {
            assert_eq!(pair.client.call(&Echo(number)).await.unwrap(), number);
        }
        assert!(matches!(pair.client.call(&Echo(13)).await, Err(CallError::App(text)) if text == "thirteen"));
        let other = pair.connect().await.unwrap();
        assert_eq!(other.call(&Echo(7)).await.unwrap(), 7);
    });
}

#[test]
fn a_deadline_ends_the_future_of_a_method() {
    on_each(|| async {
        let (pair, mut told) = resting().await;
        let error = failed(pair.client.call_within(&Rest, Duration::from_millis(500)).await);
        assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
        assert_eq!((told.recv().await, told.recv().await), (Some("begun"), Some("dropped")));
    });
}

#[test]
fn a_future_that_is_dropped_ends_its_call() {
    on_each(|| async {
        let (pair, mut told) = resting().await;
        let client = pair.client.clone();
        let calling = tokio::spawn(async move { client.call(&Rest).await });
        assert_eq!(told.recv().await, Some("begun"));
        calling.abort();
        assert_eq!(told.recv().await, Some("dropped"));
    });
}

#[test]
fn items_of_futures_pass_in_both_directions() {
    on_each(|| async {
        let service = echo().stream(|_: Sums, mut items, mut out, _| async move {
            let (mut sum, mut count) = (0, 0);
            while let Some(item) = items.next().await {
                sum += item?;
                count += 1;
                out.send(&sum).await?;
            }
            Ok(count)
        });
        let pair = AsyncClient::connected_pair(service).await.unwrap();
        let (mut up, mut down) = pair.client.stream(&Sums).await.unwrap().split();
        let sending = tokio::spawn(async move {
            for number in 1..=2_000 {
                up.send(&number).await.unwrap();
            }
            up.finish();
        });
        let mut last = 0;
        while let Some(sum) = down.next().await {
            last = sum.unwrap();
        }
        assert_eq!((last, down.end().await.unwrap()), (2_001_000, 2_000));
        sending.await.unwrap();
    });
}

#[test]
fn a_service_of_futures_that_has_ended_and_what_takes_a_broker_are_named() {
    on_each(|| async {
        let pair = AsyncClient::connected_pair(echo()).await.unwrap();
        let refused = pair.client.subscribe("house.*").await.map(drop).unwrap_err();
        assert_eq!((refused.code(), refused.retry()), (ErrorCode::NO_METHOD, Retry::Safe));
        let clock = pair.client.call_bytes(Request::new("clock".parse().unwrap(), "")).await.unwrap_err();
        assert_eq!(clock.code(), ErrorCode::NO_SERVICE);
        pair.serving.stop().await;
        let error = failed(pair.client.call(&Echo(1)).await);
        assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    });
}
