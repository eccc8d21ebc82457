//! How a client connects, where the defaults do not do.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use ipc_protocol::transport::Address;

use crate::{
    error::Result,
    link::{channel::Channel, dial::Dial},
};

/// Settings of a connection, made by [`Client::builder`](crate::Client::builder).
///
/// ```
/// use std::time::Duration;
///
/// use ipc_client::Client;
///
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// let client = Client::builder().address(&address).agent("backup 1.2").patience(Duration::from_millis(500)).connect()?;
/// client.ping()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Connect {
    address: Option<Address>,
    /// In place of any address.
    channel: Option<Arc<Channel>>,
    agent: Option<String>,
    patience: Option<Duration>,
}

impl Connect {
    /// Connects to this address, instead of the one that the environment gives.
    pub fn address(mut self, address: &Address) -> Self {
        self.address = Some(address.clone());
        self
    }

    /// What the list of peers shows for this connection, up to 255 bytes; the program's name by default.
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = Some(agent.to_owned());
        self
    }

    /// How long to wait for a broker that is too busy to accept a connection; 5 s by default. One that does not run is not waited
    /// for.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// A socket that is connected to the broker, on which nothing was said yet: for a program that speaks another dialect there, such as
    /// JSON-RPC (docs/json-rpc.md). It blocks.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened or belongs to a stranger, `usage` if the
    /// environment doesn't name an address.
    pub fn socket(self) -> Result<OwnedFd> {
        self.dial()?.open(Duration::MAX)
    }

    /// Connects to the other ends of this.
    pub(crate) fn within(mut self, channel: &Arc<Channel>) -> Self {
        self.channel = Some(channel.clone());
        self
    }

    pub(crate) fn dial(self) -> Result<Dial> {
        let mut dial = match (&self.channel, self.address) {
            (Some(channel), _) => Dial::within(channel),
            (None, Some(address)) => Dial::to(address),
            (None, None) => Dial::from_environment()?,
        };
        if let Some(agent) = &self.agent {
            dial.agent(agent);
        }
        if let Some(patience) = self.patience {
            dial.patience(patience);
        }
        Ok(dial)
    }
}
