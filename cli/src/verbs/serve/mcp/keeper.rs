//! The thread that owns the server: it starts it, talks with it for all calls, and starts it again when it has died.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_client::Bell;
use serde_json::Value;

use super::{
    greeting::{Greeted, Unfit, greet},
    listing,
    peer::{Peer, Said, Seen},
    relisting::Relisting,
    shared::{Ready, Shared, Standing},
    tools,
};
use crate::{
    child::{Interest, group::Surroundings, ready, restarts::Restarts},
    mcp::version::Era,
    program::Program,
    verbs::serve::journal::Journal,
};

/// The thread's own state.
pub(super) struct Keeper {
    pub(super) program: Program,
    pub(super) service: String,
    pub(super) surroundings: Surroundings,
    pub(super) shared: Arc<Shared>,
    pub(super) quit: Bell,
    pub(super) journal: Arc<Journal>,
    /// How the server ended that was told last, until it is there again; none before it was there for the first time.
    pub(super) told: Option<String>,
}

impl Keeper {
    /// Starts the server, again and again, until `quit` rings.
    pub(super) fn run(mut self) {
        let (mut restarts, mut era) = (Restarts::new(), None);
        while !self.pause(restarts.start_at()) {
            self.shared.stand(Standing::Starting);
            let mut recipe = self.program.recipe();
            super::super::environment::of_service(&mut recipe, &self.service);
            let mut peer = match Peer::start(recipe, &self.surroundings, self.journal.clone()) {
                Ok(peer) => peer,
                Err(error) => {
                    self.fail(&mut restarts, &format!("could not be started: {error}"));
                    continue;
                }
            };
            match greet(&mut peer, era, &self.quit) {
                Ok(greeted) => {
                    era = Some(greeted.era);
                    self.shared.stand(Standing::Ready(ready_with(greeted.era, &greeted.tools)));
                    if self.told.replace(String::new()).is_some() {
                        self.journal.server_ready();
                    }
                    let is_quit = self.talk(&mut peer, &greeted);
                    let is_well = peer.age() >= SETTLED;
                    let end = peer.end();
                    if is_well {
                        restarts.after_success(&end);
                    } else {
                        restarts.after_failure(&end);
                    }
                    if !is_quit {
                        self.tell(&end);
                    }
                    self.shared.lose(&end, Standing::Failing(restarts.start_at(), end.clone()));
                }
                Err(Unfit::Quit) => drop(peer.end()),
                Err(Unfit::EndedOnProbe) => {
                    era = Some(Era::Sessions);
                    restarts.at_once(&peer.end());
                }
                Err(Unfit::Ended) => {
                    self.fail(&mut restarts, &peer.end());
                }
                Err(Unfit::Wrong(fault)) => {
                    drop(peer.end());
                    self.fail(&mut restarts, &fault);
                }
            }
        }
        self.shared.lose("was ended", Standing::Over);
    }

    fn fail(&mut self, restarts: &mut Restarts, fault: &str) {
        self.tell(fault);
        restarts.after_failure(fault);
        self.shared.stand(Standing::Failing(restarts.start_at(), fault.to_owned()));
    }

    /// Tells an end, but not twice the same in a row. That the first start failed is told elsewhere.
    fn tell(&mut self, end: &str) {
        if self.told.as_ref().is_some_and(|told| told != end) {
            self.journal.server_ended(end);
            self.told = Some(end.to_owned());
        }
    }

    /// Talks with the server until it ends, or we do. Whether it is we.
    fn talk(&self, peer: &mut Peer, greeted: &Greeted) -> bool {
        let mut relisting = Relisting::new(greeted.era);
        if greeted.have_changed {
            relisting.ask();
        }
        loop {
            // What a server doesn't read stays where a cancel finds it.
            let bell = peer.has_room().then(|| self.shared.bell());
            let seen = peer.wait(bell, &self.quit, relisting.due());
            for said in peer.messages() {
                match said {
                    Said::Message(message) if listing::is_change(&message) => relisting.ask(),
                    Said::Message(message) => self.shared.take(message),
                    Said::Lost(why) => self.shared.give_up(&why),
                }
            }
            if let Some(tools) = relisting.go_on(&self.shared) {
                self.shared.stand(Standing::Ready(ready_with(greeted.era, &tools)));
            }
            match seen {
                Ok(Seen::Quit) => return true,
                Ok(Seen::End) | Err(_) => return false,
                Ok(Seen::Something | Seen::Bell | Seen::Time) => {}
            }
            while peer.has_room()
                && let Some(message) = self.shared.unsent()
            {
                peer.say(&message);
            }
        }
    }

    /// Waits for a time; whether we are to end.
    fn pause(&self, until: Instant) -> bool {
        !matches!(ready([(Some(&self.quit as _), Interest::Read)], Some(until)), Ok([false]))
    }
}

fn ready_with(era: Era, tools: &[Value]) -> Ready {
    let (description, names) = tools::methods(tools);
    Ready { era, names: Arc::new(names), description: Arc::new(description) }
}

/// A server that lives this long has started well.
const SETTLED: Duration = Duration::from_secs(1);
