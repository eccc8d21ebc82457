//! The client: the same loops for every broker, without allocating in a call.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::epoll;

use super::{
    dialect::{Dialect, Step},
    intake::{Intake, write_all},
    metric::Metric,
    outcome::{Outcome, Usage},
};

/// How long to run, and whose CPU time to count.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Budget {
    /// Length of the measured part. A warm-up of a tenth precedes it.
    pub(super) time: Duration,
    /// Run this number of calls instead, without a warm-up.
    pub(super) calls: Option<u64>,
    /// The process id of the broker, if there is one.
    pub(super) broker: Option<u32>,
    /// The process id of the service.
    pub(super) service: Option<u32>,
}

/// One connection that makes calls.
#[derive(Debug)]
pub(super) struct Link<D> {
    socket: OwnedFd,
    dialect: D,
    intake: Intake,
    /// All calls that may be outstanding, built once. Only their numbers change.
    calls: Vec<u8>,
    call_len: usize,
    serial: u64,
}

/// What a loop counts.
pub(super) struct Tally {
    ends: Ends,
    started: Instant,
    pub(super) calls: u64,
    latencies: Vec<u32>,
}

/// When a loop ends.
pub(super) enum Ends {
    At(Instant),
    After(u64),
}

impl<D: Dialect> Link<D> {
    pub(super) fn new(socket: OwnedFd, dialect: D, metric: Metric) -> Self {
        let body = vec![b'x'; metric.size()];
        let mut calls = Vec::new();
        let put = |out: &mut Vec<u8>| match metric.subscribers() {
            0 => dialect.put_call(out, &body),
            _ => dialect.put_event(out, &body),
        };
        put(&mut calls);
        let call_len = calls.len();
        (1..metric.window()).for_each(|_| put(&mut calls));
        // Many connections receive only small frames, and their buffers must fit the cache together.
        let room = if metric.connections() > 1 { 1_024 } else { Intake::LEN };
        Self { socket, dialect, intake: Intake::new(room), calls, call_len, serial: 1 }
    }

    /// Sends `count` calls with one write.
    pub(super) fn send(&mut self, count: usize) -> io::Result<()> {
        let frames = &mut self.calls[..count * self.call_len];
        for frame in frames.chunks_exact_mut(self.call_len) {
            self.serial += 1;
            self.dialect.renumber(frame, self.serial);
        }
        write_all(self.socket.as_fd(), frames)
    }

    /// Waits for a reply, and takes all that came with it.
    pub(super) fn receive(&mut self) -> io::Result<usize> {
        loop {
            ended(self.intake.wait_and_read(self.socket.as_fd())?)?;
            match self.take_replies() {
                0 => {}
                replies => return Ok(replies),
            }
        }
    }

    /// Takes the replies that have been received, without waiting.
    fn receive_ready(&mut self) -> io::Result<usize> {
        ended(self.intake.read(self.socket.as_fd())?)?;
        Ok(self.take_replies())
    }

    fn take_replies(&mut self) -> usize {
        let mut replies = 0;
        loop {
            match self.dialect.step(self.intake.bytes()) {
                Step::Incomplete => return replies,
                Step::Skip(len) => self.intake.consume(len),
                Step::Found(found) => {
                    self.intake.consume(found.len);
                    replies += 1;
                }
            }
        }
    }
}

impl Tally {
    pub(super) fn new(ends: Ends) -> Self {
        Self { ends, started: Instant::now(), calls: 0, latencies: Vec::with_capacity(LATENCIES) }
    }

    pub(super) fn goes_on(&self, now: Instant) -> bool {
        match self.ends {
            Ends::At(end) => now < end,
            Ends::After(calls) => self.calls < calls,
        }
    }
}

/// Runs a metric: a warm-up, then the measured part.
pub(super) fn run<D: Dialect>(links: &mut [Link<D>], metric: Metric, budget: &Budget) -> io::Result<Outcome> {
    measure(budget, |ends| match &mut *links {
        [link] if metric.window() == 1 => timed(ends, || {
            link.send(1)?;
            link.receive().map(drop)
        }),
        [link] => window(link, metric.window(), ends),
        links => many_connections(links, ends),
    })
}

/// Runs a loop twice, as a warm-up and to be measured.
pub(super) fn measure(budget: &Budget, mut run: impl FnMut(Ends) -> io::Result<Tally>) -> io::Result<Outcome> {
    let ends = match budget.calls {
        Some(calls) => Ends::After(calls),
        None => {
            run(Ends::At(Instant::now() + budget.time / 10))?;
            Ends::At(Instant::now() + budget.time)
        }
    };
    let before = Usage::now(budget.broker, budget.service)?;
    let mut tally = run(ends)?;
    let elapsed = tally.started.elapsed();
    let after = Usage::now(budget.broker, budget.service)?;
    Ok(Outcome::new(tally.calls, elapsed, before, after, &mut tally.latencies))
}

/// Makes one call after another, and times each.
pub(super) fn timed(ends: Ends, mut call: impl FnMut() -> io::Result<()>) -> io::Result<Tally> {
    let mut tally = Tally::new(ends);
    let mut now = tally.started;
    while tally.goes_on(now) {
        call()?;
        let then = std::mem::replace(&mut now, Instant::now());
        tally.calls += 1;
        if tally.latencies.len() < LATENCIES {
            tally.latencies.push(u32::try_from((now - then).as_nanos()).unwrap_or(u32::MAX));
        }
    }
    Ok(tally)
}

fn window<D: Dialect>(link: &mut Link<D>, window: usize, ends: Ends) -> io::Result<Tally> {
    let mut tally = Tally::new(ends);
    let mut free = window;
    while tally.goes_on(Instant::now()) {
        link.send(free)?;
        free = link.receive()?;
        tally.calls += free as u64;
    }
    let mut outstanding = window - free;
    while outstanding > 0 {
        outstanding -= link.receive()?;
    }
    Ok(tally)
}

fn many_connections<D: Dialect>(links: &mut [Link<D>], ends: Ends) -> io::Result<Tally> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, link) in links.iter().enumerate() {
        epoll::add(&poll, &link.socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(links.len());
    let mut tally = Tally::new(ends);
    links.iter_mut().try_for_each(|link| link.send(1))?;
    let mut outstanding = links.len();
    while outstanding > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        let goes_on = tally.goes_on(Instant::now());
        for event in &events {
            let number = usize::try_from(event.data.u64()).expect("the index of a connection");
            let link = &mut links[number];
            let replies = link.receive_ready()?;
            tally.calls += replies as u64;
            if goes_on && replies > 0 {
                link.send(1)?;
            } else {
                outstanding -= replies;
            }
        }
    }
    Ok(tally)
}

fn ended(len: usize) -> io::Result<()> {
    if len > 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The number of latencies kept from the start of a run.
const LATENCIES: usize = 1 << 20;
