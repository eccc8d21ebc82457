//! The first words with a server: which era it speaks, and which tools it has.

use std::time::{Duration, Instant};

use ipc_client::Bell;
use serde_json::{Map, Value, json};

use super::{
    listing::{self, Listing},
    peer::{Peer, Said, Seen},
};
use crate::{
    mcp::{
        message::{self, Fault, Message},
        version::{self, Era},
    },
    term::reason,
};

/// What is known of a server after the first words.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) era: Era,
    /// As the server lists them.
    pub(super) tools: Vec<Value>,
    /// Whether it has said since that they are others.
    pub(super) have_changed: bool,
}

/// Why a server can't be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// We are to end.
    Quit,
    /// It ended on the question whether it is of the stateless era, as some of the other one do.
    EndedOnProbe,
    /// It ended.
    Ended,
    /// It said something else than it should.
    Wrong(String),
}

/// Talks with a server until its tools are known. With `era` it isn't asked for that.
pub(super) fn greet(peer: &mut Peer, era: Option<Era>, quit: &Bell) -> Result<Greeted, Unfit> {
    let mut talk = Talk { peer, quit, last: 0, have_changed: false };
    let era = match era {
        Some(era) => era,
        None => talk.probe()?,
    };
    match era {
        Era::Sessions => talk.initialize()?,
        Era::Stateless => talk.subscribe(),
    }
    let tools = talk.tools(era)?;
    Ok(Greeted { era, tools, have_changed: talk.have_changed })
}

struct Talk<'a> {
    peer: &'a mut Peer,
    quit: &'a Bell,
    last: u64,
    have_changed: bool,
}

impl Talk<'_> {
    fn probe(&mut self) -> Result<Era, Unfit> {
        let asked = self.ask("server/discover", Era::Stateless.params(Map::new(), Map::new()), PROBE);
        let versions = match &asked {
            Ok(Some(Ok(found))) => found.get("supportedVersions"),
            Ok(Some(Err(_)) | None) => None,
            Err(Unfit::Ended) => return Err(Unfit::EndedOnProbe),
            Err(_) => return asked.map(|_| Era::Sessions),
        };
        let is_stateless =
            versions.and_then(Value::as_array).is_some_and(|all| all.contains(&json!(version::STATELESS)));
        Ok(if is_stateless { Era::Stateless } else { Era::Sessions })
    }

    fn initialize(&mut self) -> Result<(), Unfit> {
        let params = json!({
            "protocolVersion": version::SESSIONS[0],
            "capabilities": {},
            "clientInfo": version::introduction(),
        });
        self.demand("initialize", params)?;
        self.peer.say(&message::notification("notifications/initialized", json!({})));
        Ok(())
    }

    /// The answer comes at the end of the subscription, so nothing waits for it; nor for a refusal.
    fn subscribe(&mut self) {
        self.last += 1;
        self.peer.say(&listing::subscription(self.last));
    }

    fn tools(&mut self, era: Era) -> Result<Vec<Value>, Unfit> {
        let (mut listing, mut page) = (Listing::default(), Map::new());
        loop {
            let result = self.demand("tools/list", era.params(page, Map::new()))?;
            match listing.take(result) {
                Some(next) => page = next,
                None => return Ok(listing.tools()),
            }
        }
    }

    fn demand(&mut self, method: &str, params: Value) -> Result<Value, Unfit> {
        match self.ask(method, params, PATIENCE)? {
            Some(Ok(result)) => Ok(result),
            Some(Err(fault)) => Err(Unfit::Wrong(format!("refused {method}: {}", fault.message))),
            None => Err(Unfit::Wrong(format!("has not answered {method} within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Asks, and waits for the answer; none if it doesn't come in time.
    fn ask(&mut self, method: &str, params: Value, time: Duration) -> Result<Option<Result<Value, Fault>>, Unfit> {
        self.last += 1;
        self.peer.say(&message::request(self.last, method, params));
        let until = Instant::now() + time;
        loop {
            let seen = self.peer.wait(None, self.quit, Some(until));
            let seen = seen.map_err(|error| Unfit::Wrong(format!("can't be talked to: {}", reason(&error))))?;
            for said in self.peer.messages() {
                let message = match said {
                    Said::Message(message) => message,
                    Said::Lost(why) => return Err(Unfit::Wrong(why)),
                };
                self.have_changed |= listing::is_change(&message);
                if let Message::Answer { id, outcome } = message
                    && id == self.last
                {
                    return Ok(Some(outcome));
                }
            }
            match seen {
                Seen::Quit => return Err(Unfit::Quit),
                Seen::End => return Err(Unfit::Ended),
                Seen::Time => return Ok(None),
                Seen::Something | Seen::Bell if Instant::now() >= until => return Ok(None),
                Seen::Something | Seen::Bell => {}
            }
        }
    }
}

/// How long a server may be silent on a question that only newer ones know.
const PROBE: Duration = Duration::from_secs(2);
/// How long a server may take to start: some install themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
