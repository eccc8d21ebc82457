//! A stream: how fast items go from a caller to a service.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_client::{Client, Encoding, Error, Request, Response, Service, Streams, Target};
use serde::Serialize;

use super::plan::{Plan, client, failed, rate, start};
use crate::{globals::Globals, problem::Result};

/// What was measured of a stream. Members are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    size: u32,
    seconds: f64,
    /// Items that were taken.
    count: u64,
    /// Items a second.
    rate: f64,
    megabytes_per_second: f64,
}

pub(super) fn measure(plan: &Plan, globals: &Globals) -> Result<Report> {
    let drain = Service::anonymous().any_stream(|_, items, _, _| {
        let count = items.map(|item| item.map(|_| 1)).sum::<std::result::Result<u64, Error>>()?;
        Ok(Response::bytes(count.to_string()))
    });
    let (_serving, target) = start(drain, globals)?;
    let client = client(globals)?;
    send_for(plan.length / 10, plan.size, &client, &target).map_err(failed)?;
    let began = Instant::now();
    let count = send_for(plan.length, plan.size, &client, &target).map_err(failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = rate(count, seconds);
    let megabytes_per_second = rate * f64::from(plan.size) / 1e6;
    Ok(Report { size: plan.size, seconds, count, rate, megabytes_per_second })
}

/// Sends items for a while. Returns how many there were once the service has taken all.
fn send_for(length: Duration, size: u32, client: &Client, target: &Target) -> std::result::Result<u64, Error> {
    let item = Bytes::from(vec![b'x'; size as usize]);
    let together = vec![item; (TOGETHER / size.max(1) as usize).clamp(1, MOST)];
    let mut call = client.stream_bytes(Request::new(target.clone(), ""), Streams { request: true, reply: false })?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < length {
        call.send_all(Encoding::BYTES, &together)?;
        count += together.len() as u64;
    }
    call.end()?;
    Ok(count)
}

impl super::plan::Report for Report {
    fn rows(&self) -> Vec<(&'static str, f64, &'static str)> {
        vec![("throughput", self.megabytes_per_second, "MB/s"), ("rate", self.rate, "items/s")]
    }
}

/// Bytes and items that are sent together.
const TOGETHER: usize = 64 * 1024;
const MOST: usize = 1_000;
