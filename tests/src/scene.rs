//! A broker under attack. Bystanders must not notice, and afterwards nothing of the attackers may be left.

use crate::{
    broker::Broker,
    eventually::{SOON, within},
    peer::Peer,
};

/// A broker with a well-behaved service and client, the bystanders.
#[derive(Debug)]
pub struct Scene {
    /// The broker.
    pub broker: Broker,
    service: Peer,
    client: Peer,
    /// Connections, names, calls and bytes that the broker held at the start.
    held: [u64; 4],
    /// What was used of each limit at the start.
    used: Vec<(String, Option<u64>)>,
    /// The broker's descriptors at the start; `None` if it is a thread of the test, whose descriptors come and go.
    descriptors: Option<usize>,
}

impl Scene {
    /// Starts a broker with default limits, and the bystanders.
    #[must_use]
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// Starts a broker with a configuration, and the bystanders.
    #[must_use]
    pub fn with_config(toml: &str) -> Self {
        Self::at(Broker::with_config(toml))
    }

    /// Adds the bystanders to a broker.
    #[must_use]
    pub fn at(mut broker: Broker) -> Self {
        let (mut service, mut client) = (Peer::connect(&broker), Peer::connect(&broker));
        service.register("bystander", 1);
        let (held, used) = (held(&mut client), used(&mut client));
        let descriptors = broker.daemon().map(|daemon| daemon.descriptors().len());
        Self { broker, service, client, held, used, descriptors }
    }

    /// Asserts that the bystanders are served.
    #[track_caller]
    pub fn bystanders_go_on(&mut self) {
        let id = self.client.call("bystander", "are you well?");
        self.service.echo();
        assert_eq!(self.client.reply(), (id, "are you well?".into()));
    }

    /// Asserts, once all others have left, that the bystanders are served and that nothing of the others remains: no
    /// connection, name, call, byte or descriptor. What a flood has left in sockets is read first, which takes the broker of a debug
    /// build some seconds.
    #[track_caller]
    pub fn nothing_is_left(&mut self) {
        self.bystanders_go_on();
        let (client, before) = (&mut self.client, self.held);
        let is_clear = within(SOON, || held(client) == before);
        assert!(is_clear, "{:?} connections, names, calls, bytes instead of {before:?}", held(client));
        assert!(within(SOON, || used(client) == self.used), "{:?} used instead of {:?}", used(client), self.used);
        let Some(before) = self.descriptors else { return };
        let daemon = self.broker.daemon().expect("only a process has its descriptors counted");
        let open = || daemon.descriptors().len();
        assert!(within(SOON, || open() == before), "{} descriptors instead of {before}", open());
    }
}

/// Connections, names, calls and bytes, from the broker's own service.
#[must_use]
pub fn held(client: &mut Peer) -> [u64; 4] {
    let stats: ipc_protocol::control::Stats = client.ask("stats", &ipc_protocol::control::Empty {});
    let value = |name: &str| stats.stats.iter().find(|row| row.name == name).map_or(u64::MAX, |row| row.value);
    ["connections", "names", "calls_pending", "bytes_held"].map(value)
}

/// The use of each limit, from the broker's own service.
fn used(client: &mut Peer) -> Vec<(String, Option<u64>)> {
    let limits: ipc_protocol::control::Limits = client.ask("limits", &ipc_protocol::control::Empty {});
    limits.limits.into_iter().map(|row| (row.name, row.used)).collect()
}
