//! Events: latency and rate. One thread publishes and receives, so that no time goes into waking threads of this process.

use std::time::{Duration, Instant};

use ipc_client::{Client, Error, ErrorCode, Notice, Publication, Subscription, TopicName};
use serde::Serialize;

use super::{
    plan::{Plan, client, failed, rate},
    samples::Samples,
};
use crate::{globals::Globals, problem::Result};

/// Bytes of the shortest event: when it was published.
pub(super) const LEAST: u32 = 8;

/// What was measured of events. Members are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    size: u32,
    window: u16,
    subscribers: u16,
    seconds: f64,
    /// Events that were published, and how often one was received.
    events: u64,
    count: u64,
    /// Receipts a second.
    rate: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A publisher and its subscribers.
struct Fan<'a> {
    plan: &'a Plan,
    topic: TopicName,
    publisher: Client,
    subscribers: Vec<Subscription>,
    /// What the time in an event counts from.
    began: Instant,
    patience: Duration,
}

pub(super) fn measure(plan: &Plan, globals: &Globals) -> Result<Report> {
    let topic = format!("ipcctl-bench.p{}", std::process::id());
    let subscribe = |_| {
        let subscription = client(globals)?.subscription(&topic).queue(u32::from(plan.window).max(QUEUE));
        subscription.start().map_err(failed)
    };
    let subscribers = (0..plan.subscribers).map(subscribe).collect::<Result<Vec<_>>>()?;
    let topic = TopicName::parse(&topic).expect("a topic of ours is valid");
    let (publisher, began, patience) = (client(globals)?, Instant::now(), globals.deadline());
    let mut fan = Fan { plan, topic, publisher, subscribers, began, patience };
    fan.run(plan.length / 10).map_err(failed)?;
    let began = Instant::now();
    let (events, mut samples) = fan.run(plan.length).map_err(failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let (p50_us, p99_us) = samples.p50_and_p99();
    let Plan { size, window, subscribers, .. } = *plan;
    let (count, rate) = (samples.count, rate(samples.count, seconds));
    Ok(Report { size, window, subscribers, seconds, events, count, rate, p50_us, p99_us })
}

impl Fan<'_> {
    /// Publishes a window of events, receives them everywhere, and begins anew. Returns how many were published.
    fn run(&mut self, length: Duration) -> std::result::Result<(u64, Samples), Error> {
        let (mut samples, mut events) = (Samples::default(), 0);
        let began = Instant::now();
        while began.elapsed() < length {
            let corked = (self.plan.window > 1).then(|| self.publisher.cork());
            for _ in 0..self.plan.window {
                self.publisher.announce_bytes(&self.event())?;
            }
            drop(corked);
            events += u64::from(self.plan.window);
            for subscriber in &mut self.subscribers {
                for _ in 0..self.plan.window {
                    samples.push(self.began + receive(subscriber, self.patience)?);
                }
            }
        }
        Ok((events, samples))
    }

    fn event(&self) -> Publication {
        let mut body = vec![b'x'; self.plan.size as usize];
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(place) = body.first_chunk_mut() {
            *place = now.to_le_bytes();
        }
        Publication::new(self.topic.clone(), body)
    }
}

/// When the next event was published.
fn receive(subscriber: &mut Subscription, patience: Duration) -> std::result::Result<Duration, Error> {
    let refused = |text| Err(Error::new(ErrorCode::DEADLINE, text));
    match subscriber.next_within(patience)? {
        Some(Notice::Event(event)) => match event.body.first_chunk() {
            Some(time) => Ok(Duration::from_nanos(u64::from_le_bytes(*time))),
            None => refused("another program publishes on the topic of this bench"),
        },
        Some(Notice::Gap(_)) => refused("the broker dropped events: its limits are too low for this window"),
        Some(_) => refused("the connection to the broker was lost"),
        None => refused("an event did not come in time"),
    }
}

impl super::plan::Report for Report {
    fn rows(&self) -> Vec<(&'static str, f64, &'static str)> {
        vec![("p50", self.p50_us, "us"), ("p99", self.p99_us, "us"), ("rate", self.rate, "events/s received")]
    }
}

/// Events that may wait at a subscriber.
const QUEUE: u32 = 1_024;
