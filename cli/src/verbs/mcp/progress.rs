//! What a client is told of a call that takes a while: items of a stream, and from time to time that it still runs.

use std::time::{Duration, Instant};

use ipc_client::Response;
use serde_json::{Map, Value, json};

use crate::mcp::message;

/// The progress of one call, which only rises.
#[derive(Debug)]
pub(super) struct Progress {
    token: Value,
    last: f64,
    sent: Instant,
    /// Told as soon as it may be.
    waiting: Option<Step>,
    items: u64,
    has_told: bool,
}

#[derive(Debug)]
struct Step {
    progress: f64,
    total: Option<f64>,
    message: Option<String>,
}

impl Progress {
    /// The progress of a call whose client wants to be told under `token`.
    pub(super) fn new(token: Value, now: Instant) -> Self {
        Self { token, last: 0.0, sent: now, waiting: None, items: 0, has_told: false }
    }

    /// An item has come. Returns what to tell now.
    pub(super) fn item(&mut self, item: &Response, now: Instant) -> Option<Value> {
        self.items += 1;
        self.waiting = Some(Step::of(item, self.items));
        self.due(now)
    }

    /// When there is something to tell that has waited long enough.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|_| if self.has_told { self.sent + PACE } else { self.sent })
    }

    /// What to tell now, if anything is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Value> {
        if self.due_at().is_none_or(|at| now < at) {
            return None;
        }
        let step = self.waiting.take()?;
        Some(self.tell(step, now))
    }

    /// When to say next that the call still runs.
    pub(super) fn beat_at(&self) -> Instant {
        self.sent + BEAT
    }

    /// That the call still runs, if nothing was told for long.
    pub(super) fn beat(&mut self, now: Instant) -> Option<Value> {
        (now >= self.beat_at()).then(|| self.tell(Step { progress: self.last, total: None, message: None }, now))
    }

    fn tell(&mut self, step: Step, now: Instant) -> Value {
        // It must rise, even where a service repeats itself, and by little where nothing was done.
        self.last = if step.progress > self.last { step.progress } else { self.last + LITTLE };
        (self.sent, self.has_told) = (now, true);
        let mut params = Map::new();
        params.insert("progressToken".to_owned(), self.token.clone());
        params.insert("progress".to_owned(), json!(self.last));
        params.extend(step.total.map(|total| ("total".to_owned(), json!(total))));
        params.extend(step.message.map(|message| ("message".to_owned(), json!(message))));
        message::notification("notifications/progress", Value::Object(params))
    }
}

impl Step {
    /// An item may say itself how far the call is; else items are counted.
    fn of(item: &Response, count: u64) -> Self {
        let said: Option<Map<String, Value>> = serde_json::from_slice(&item.body).ok();
        let number = |name: &str| said.as_ref()?.get(name)?.as_f64();
        if let Some(progress) = number("progress") {
            let message = said.as_ref().and_then(|said| said.get("message")?.as_str()).map(cut);
            return Self { progress, total: number("total"), message };
        }
        #[expect(clippy::cast_precision_loss, reason = "a stream of 2^53 items doesn't end")]
        let progress = count as f64;
        Self { progress, total: None, message: std::str::from_utf8(&item.body).ok().map(cut) }
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_MESSAGE)).unwrap_or_default().trim_end().to_owned()
}

/// Four notifications a second are as many as a person sees.
const PACE: Duration = Duration::from_millis(250);
/// Clients give up on a call of which they are told nothing for some tens of seconds.
const BEAT: Duration = Duration::from_secs(10);
/// What is added where nothing was done.
const LITTLE: f64 = 0.001;
/// Bytes of an item that are shown.
const LONGEST_MESSAGE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn number(told: Option<Value>) -> Option<f64> {
        told.and_then(|told| told["params"]["progress"].as_f64())
    }

    #[test]
    fn the_first_item_is_told_at_once_and_later_ones_four_times_a_second() {
        let start = Instant::now();
        let mut progress = Progress::new(json!("t"), start);
        let item = Response::bytes("x");
        assert_eq!(number(progress.item(&item, start)), Some(1.0));
        assert_eq!(number(progress.item(&item, start)), None);
        assert_eq!(number(progress.item(&item, start)), None);
        assert_eq!(progress.due_at(), Some(start + PACE));
        assert_eq!(number(progress.due(start + PACE)), Some(3.0));
        assert_eq!(progress.due_at(), None);
    }

    #[test]
    fn a_call_that_only_runs_rises_by_little() {
        let start = Instant::now();
        let mut progress = Progress::new(json!(1), start);
        assert_eq!(number(progress.beat(start)), None);
        let first = number(progress.beat(start + BEAT)).unwrap();
        let second = number(progress.beat(start + BEAT * 2)).unwrap();
        assert!(0.0 < first && first < second && second < 0.01, "{first} {second}");
    }

    #[test]
    fn an_item_may_say_itself_how_far_it_is_and_never_falls() {
        let start = Instant::now();
        let mut progress = Progress::new(json!(1), start);
        let told = progress.item(&Response::bytes(r#"{"progress":5,"total":9,"message":"half"}"#), start).unwrap();
        assert_eq!((&told["params"]["total"], &told["params"]["message"]), (&json!(9.0), &json!("half")));
        let later = progress.item(&Response::bytes(r#"{"progress":4}"#), start + PACE);
        assert!(number(later).unwrap() > 5.0);
    }
}
