//! What the thread that owns the server shares with the calls.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipc_client::{Bell, Description};
use serde_json::{Value, json};

use super::{
    news::{News, Teller},
    tools::Names,
};
use crate::mcp::{
    message::{self, FAILED, Fault, Message},
    version::Era,
};

/// How the server is.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It is being started.
    Starting,
    Ready(Ready),
    /// It is started again at this time; what is wrong, as in "the server …".
    Failing(Instant, String),
    /// It is not started any more.
    Over,
}

/// What a call must know.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) era: Era,
    pub(super) names: Arc<Names>,
    pub(super) description: Arc<Description>,
}

/// What calls and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// There is something to send.
    bell: Bell,
    /// The server says something of its tools that may be new.
    news: Bell,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    unsent: VecDeque<Unsent>,
    waiting: HashMap<u64, Teller>,
    last: u64,
}

/// A message for the server, which is told no more than it reads.
#[derive(Debug)]
struct Unsent {
    /// The number, if it is a request.
    number: Option<u64>,
    message: Value,
}

impl Shared {
    /// `news` rings when the server has said which tools it has.
    pub(super) fn new(bell: Bell, news: Bell) -> Self {
        let (unsent, waiting) = (VecDeque::new(), HashMap::new());
        // The numbers of the first words are lower.
        let state = State { standing: Standing::Starting, unsent, waiting, last: FIRST };
        Self { state: Mutex::new(state), changed: Condvar::new(), bell, news }
    }

    /// How the server is, once `is_enough` is content, or the time has come.
    pub(super) fn standing(&self, until: Instant, is_enough: impl Fn(&Standing) -> bool) -> Standing {
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || is_enough(&state.standing) {
                return state.standing.clone();
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Readable once there may be news of the tools.
    pub(super) fn news(&self) -> &Bell {
        &self.news
    }

    /// What the server says of its tools, if it is there.
    pub(super) fn description(&self) -> Option<Arc<Description>> {
        self.news.silence();
        match &self.state().standing {
            Standing::Ready(ready) => Some(ready.description.clone()),
            Standing::Starting | Standing::Failing(..) | Standing::Over => None,
        }
    }

    /// Sends a request and returns its number, unless the server has gone meanwhile.
    pub(super) fn ask(&self, teller: Teller, request: impl FnOnce(u64) -> Value) -> Option<u64> {
        let mut state = self.state();
        if !matches!(state.standing, Standing::Ready(_)) {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, teller);
        state.unsent.push_back(Unsent { number: Some(number), message: request(number) });
        drop(state);
        self.bell.ring();
        Some(number)
    }

    /// Gives up on a request: the server is told, if it knows of it. So there are never more messages here than twice the calls.
    pub(super) fn cancel(&self, number: u64, reason: &str) {
        let mut state = self.state();
        if state.waiting.remove(&number).is_none() {
            return;
        }
        if let Some(place) = state.unsent.iter().position(|unsent| unsent.number == Some(number)) {
            state.unsent.remove(place);
        } else {
            let params = json!({ "requestId": number, "reason": reason });
            let message = message::notification("notifications/cancelled", params);
            state.unsent.push_back(Unsent { number: None, message });
            drop(state);
            self.bell.ring();
        }
    }

    /// Readable once there is something to send.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Takes what is to be sent next. None silences the bell.
    pub(super) fn unsent(&self) -> Option<Value> {
        let mut state = self.state();
        let next = state.unsent.pop_front();
        if next.is_none() {
            self.bell.silence();
        }
        next.map(|unsent| unsent.message)
    }

    /// How the server is from now on.
    pub(super) fn stand(&self, standing: Standing) {
        let is_ready = matches!(standing, Standing::Ready(_));
        self.state().standing = standing;
        self.changed.notify_all();
        if is_ready {
            self.news.ring();
        }
    }

    /// Takes what the server says, for the call that waits for it.
    pub(super) fn take(&self, message: Message) {
        let mut state = self.state();
        match message {
            Message::Answer { id, outcome } => {
                let teller = id.as_u64().and_then(|number| state.waiting.remove(&number));
                teller.inspect(|teller| teller.tell(News::Answer(outcome))); // its call may have ended
            }
            Message::Notification { method, params } if method == "notifications/progress" => {
                let number = params.get("progressToken").and_then(Value::as_u64);
                if let Some(teller) = number.and_then(|number| state.waiting.get(&number)) {
                    let said = params.into_iter().filter(|(name, _)| PROGRESS.contains(&name.as_str()));
                    teller.tell(News::Progress(Value::Object(said.collect()).to_string()));
                }
            }
            Message::Notification { .. } | Message::Request { .. } => {}
        }
    }

    /// No request will be answered that the server knows of: why, as in "the server …".
    pub(super) fn give_up(&self, why: &str) {
        let mut state = self.state();
        let State { unsent, waiting, .. } = &mut *state;
        let is_unknown = |number: u64| unsent.iter().any(|unsent| unsent.number == Some(number));
        for (_, teller) in waiting.extract_if(|number, _| !is_unknown(*number)) {
            let text = format!("the server {why}, which may have been the answer");
            teller.tell(News::Answer(Err(Fault::new(FAILED, text))));
        }
    }

    /// The server has gone, and with it all that calls wait for.
    pub(super) fn lose(&self, end: &str, standing: Standing) {
        let mut state = self.state();
        state.standing = standing;
        state.unsent.clear();
        state.waiting.drain().for_each(|(_, teller)| teller.tell(News::Gone(end.to_owned())));
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Members of a notification of progress that callers get.
const PROGRESS: [&str; 3] = ["progress", "total", "message"];
/// Numbers up to this one belong to the first words.
const FIRST: u64 = 1_000;
