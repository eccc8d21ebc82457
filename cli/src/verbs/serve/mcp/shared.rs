//! What the thread that owns the server shares with the calls.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Instant,
};

use ipc_client::{Bell, Description};
use serde_json::{Value, json};

use super::tools::Names;
use crate::mcp::{
    message::{self, Fault, Message},
    version::Era,
};

/// What a call is told.
#[derive(Debug)]
pub(super) enum News {
    /// How far it is.
    Progress(Value),
    /// What it ended with.
    Answer(Result<Value, Fault>),
    /// The server has ended: how.
    Gone(String),
    /// Its caller waits no more.
    Cancelled,
}

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
    unsent: Vec<Value>,
    waiting: HashMap<u64, mpsc::Sender<News>>,
    last: u64,
}

impl Shared {
    /// `news` rings when the server has said which tools it has.
    pub(super) fn new(bell: Bell, news: Bell) -> Self {
        let (unsent, waiting) = (Vec::new(), HashMap::new());
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
    pub(super) fn ask(&self, teller: mpsc::Sender<News>, request: impl FnOnce(u64) -> Value) -> Option<u64> {
        let mut state = self.state();
        if !matches!(state.standing, Standing::Ready(_)) {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, teller);
        state.unsent.push(request(number));
        drop(state);
        self.bell.ring();
        Some(number)
    }

    /// Gives up on a request: the server is told.
    pub(super) fn cancel(&self, number: u64, reason: &str) {
        let mut state = self.state();
        if state.waiting.remove(&number).is_some() {
            let params = json!({ "requestId": number, "reason": reason });
            state.unsent.push(message::notification("notifications/cancelled", params));
            drop(state);
            self.bell.ring();
        }
    }

    /// Readable once there is something to send.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Takes what there is to send.
    pub(super) fn unsent(&self) -> Vec<Value> {
        self.bell.silence();
        std::mem::take(&mut self.state().unsent)
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
                teller.inspect(|teller| drop(teller.send(News::Answer(outcome)))); // its call may have ended
            }
            Message::Notification { method, params } if method == "notifications/progress" => {
                let number = params.get("progressToken").and_then(Value::as_u64);
                if let Some(teller) = number.and_then(|number| state.waiting.get(&number)) {
                    let said = params.into_iter().filter(|(name, _)| PROGRESS.contains(&name.as_str()));
                    let _ = teller.send(News::Progress(Value::Object(said.collect())));
                }
            }
            Message::Notification { .. } | Message::Request { .. } => {}
        }
    }

    /// The server has gone, and with it all that calls wait for.
    pub(super) fn lose(&self, end: &str, standing: Standing) {
        let mut state = self.state();
        state.standing = standing;
        state.unsent.clear();
        state.waiting.drain().for_each(|(_, teller)| drop(teller.send(News::Gone(end.to_owned()))));
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
