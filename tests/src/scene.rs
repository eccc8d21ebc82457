//! A broker under attack: with bystanders who must not notice, and books that must balance afterwards.

use crate::{
    broker::{AT_ONCE, Broker},
    eventually::within,
    peer::Peer,
};

/// A broker, a service and a client of it that behave.
#[derive(Debug)]
pub struct Scene {
    /// The broker.
    pub broker: Broker,
    service: Peer,
    client: Peer,
    /// Connections, names, calls and bytes that the broker held before anything happened.
    held: [u64; 4],
    /// Descriptors of the broker before anything happened; none if it is a thread of the test, which has others of its own.
    descriptors: Option<usize>,
}

impl Scene {
    /// A scene with default limits.
    #[must_use]
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// A scene with a configuration.
    #[must_use]
    pub fn with_config(toml: &str) -> Self {
        Self::at(Broker::with_config(toml))
    }

    /// A scene at a broker.
    #[must_use]
    pub fn at(mut broker: Broker) -> Self {
        let (mut service, mut client) = (Peer::connect(&broker), Peer::connect(&broker));
        service.register("bystander", 1);
        let held = held(&mut client);
        let descriptors = broker.daemon().map(|daemon| daemon.descriptors().len());
        Self { broker, service, client, held, descriptors }
    }

    /// Asserts that the bystanders are served.
    #[track_caller]
    pub fn bystanders_go_on(&mut self) {
        let id = self.client.call("bystander", "are you well?");
        self.service.echo();
        assert_eq!(self.client.reply(), (id, "are you well?".into()));
    }

    /// Asserts, once all others have gone, that the bystanders are served and that nothing is left of the others: no
    /// connection, no call, no byte, no descriptor.
    #[track_caller]
    pub fn nothing_is_left(&mut self) {
        self.bystanders_go_on();
        let (client, before) = (&mut self.client, self.held);
        assert!(within(AT_ONCE, || held(client) == before), "{:?} connections, names, calls, bytes", held(client));
        let Some(before) = self.descriptors else { return };
        let daemon = self.broker.daemon().expect("it has descriptors of its own");
        let open = || daemon.descriptors().len();
        assert!(within(AT_ONCE, || open() == before), "{} descriptors, not {before}", open());
    }
}

/// Connections, names, calls and bytes, as the broker tells them.
fn held(client: &mut Peer) -> [u64; 4] {
    let stats: ipc_protocol::control::Stats = client.ask("stats", &ipc_protocol::control::Empty {});
    let value = |name: &str| stats.stats.iter().find(|row| row.name == name).map_or(u64::MAX, |row| row.value);
    ["connections", "names", "calls_pending", "bytes_held"].map(value)
}
