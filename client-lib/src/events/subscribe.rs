//! How a client subscribes, where the defaults do not do.

use ipc_protocol::{
    Pattern,
    control::{self, Keeping},
};

use super::subscription::Subscription;
use crate::{
    client::Client,
    error::{Error, Result},
    session::outgoing::misnamed,
};

/// Settings of a subscription, made by [`Client::subscription`].
#[derive(Clone, Debug)]
#[must_use = "nothing is subscribed to until it is started"]
pub struct Subscribe<C = Client> {
    client: C,
    pattern: Result<Pattern, Error>,
    keeping: Keeping,
    queue: u32,
    last: bool,
}

impl Client {
    /// Subscribes to the events whose topics match a pattern: `home.*.temperature`, `home.` for everything below `home`, or the name of one
    /// topic. Events that are published after this returns are told.
    ///
    /// # Errors
    /// `usage` if the pattern isn't valid; `denied`; `busy` past the limit of subscriptions; as for a call if there is no connection.
    pub fn subscribe(&self, pattern: impl AsRef<str>) -> Result<Subscription> {
        self.subscription(pattern).start()
    }

    /// Subscribes with other settings than the defaults.
    ///
    /// ```
    /// # use ipc_client::Client;
    /// use ipc_client::control::Keeping;
    ///
    /// # let broker = ipc_client::testing::broker()?;
    /// # let address = broker.address();
    /// # let client = Client::connect_to(&address)?;
    /// // The newest value of each topic, and first the one that the broker has kept.
    /// let readings = client.subscription("home.*.temperature").policy(Keeping::Latest).last().start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscription(&self, pattern: impl AsRef<str>) -> Subscribe {
        Subscribe::by(self.unbound(), pattern.as_ref())
    }
}

impl<C> Subscribe<C> {
    /// A subscription of a client.
    pub(crate) fn by(client: C, pattern: &str) -> Self {
        let pattern = Pattern::parse(pattern).map_err(|error| misnamed("pattern of topics", pattern, &error));
        Self { client, pattern, keeping: Keeping::default(), queue: QUEUE, last: false }
    }

    /// The client, and what it is to ask for.
    ///
    /// # Errors
    /// `usage` if the pattern isn't valid.
    pub(crate) fn into_request(self) -> Result<(C, control::Subscribe)> {
        let (policy, queue, last) = (self.keeping, self.queue, self.last);
        Ok((self.client, control::Subscribe { pattern: self.pattern?, policy, queue, last }))
    }

    /// Which events are lost when the program doesn't keep up, at the broker or here. By default the oldest. With [`Keeping::Cut`] none is:
    /// a program that doesn't keep up loses its connection, or the subscription ends with `busy`.
    pub fn policy(mut self, keeping: Keeping) -> Self {
        self.keeping = keeping;
        self
    }

    /// How many events wait at most, at the broker and once more here; 1,024 by default, at least 1. The broker may allow fewer. No more
    /// than 4 MiB of them wait here.
    pub fn queue(mut self, events: u32) -> Self {
        self.queue = events.max(1);
        self
    }

    /// Has the broker deliver the last event of each topic first, where it was kept. They come again after each
    /// [`Notice::Resumed`](crate::Notice::Resumed), for they may have changed meanwhile; they say that they are
    /// [retained](crate::Event::retained).
    pub fn last(mut self) -> Self {
        self.last = true;
        self
    }
}

impl Subscribe {
    /// Subscribes, and waits until the broker has agreed.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub fn start(self) -> Result<Subscription> {
        let (client, request) = self.into_request()?;
        Subscription::start(&client, request)
    }
}

/// As in the protocol.
const QUEUE: u32 = 1_024;
