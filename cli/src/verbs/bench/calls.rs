//! Calls: latency and rate.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ipc_client::{Client, Context, Error, Incoming, PendingBytes, Request, Response, Service};
use serde::Serialize;

use super::{
    plan::{Plan, client, failed, rate, start},
    samples::Samples,
};
use crate::{globals::Globals, problem::Result};

/// What was measured of calls. Members are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    size: u32,
    window: u16,
    seconds: f64,
    count: u64,
    rate: f64,
    p50_us: f64,
    p99_us: f64,
}

pub(super) fn measure(plan: &Plan, globals: &Globals) -> Result<Report> {
    let echo = |incoming: &Incoming, _: &Context| Ok(Response::new(incoming.encoding, incoming.body.clone()));
    let (_serving, target) = start(Service::anonymous().window(plan.window.into()).any(echo), globals)?;
    let body = vec![b'x'; plan.size as usize];
    let request = Request::new(target, body).timeout(globals.deadline());
    let client = client(globals)?;
    call_for(plan.length / 10, plan.window, &client, &request).map_err(failed)?;
    let began = Instant::now();
    let mut samples = call_for(plan.length, plan.window, &client, &request).map_err(failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let (p50_us, p99_us) = samples.p50_and_p99();
    let (count, rate) = (samples.count, rate(samples.count, seconds));
    Ok(Report { size: plan.size, window: plan.window, seconds, count, rate, p50_us, p99_us })
}

/// Keeps a window of calls under way for a while, and waits for their replies.
fn call_for(length: Duration, window: u16, client: &Client, request: &Request) -> std::result::Result<Samples, Error> {
    let mut samples = Samples::default();
    let mut pending: VecDeque<(Instant, PendingBytes)> = VecDeque::with_capacity(window.into());
    let corked = (window > 1).then(|| client.cork());
    let began = Instant::now();
    let mut now = began;
    while now - began < length {
        while pending.len() < window.into() {
            pending.push_back((now, client.start_bytes(request.clone())?));
        }
        if let Some((began, call)) = pending.pop_front() {
            call.wait()?;
            now = samples.push(began);
        }
    }
    drop(corked);
    for (began, call) in pending {
        call.wait()?;
        samples.push(began);
    }
    Ok(samples)
}

impl super::plan::Report for Report {
    fn rows(&self) -> Vec<(&'static str, f64, &'static str)> {
        vec![("p50", self.p50_us, "us"), ("p99", self.p99_us, "us"), ("rate", self.rate, "calls/s")]
    }
}
