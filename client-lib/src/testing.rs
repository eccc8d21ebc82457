//! For tests: a broker of the test's own, in the process and without a trace.

use std::{
    os::unix::net::UnixStream,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, JoinHandle},
};

use ipc_protocol::{ErrorCode, transport::Address};

use crate::{
    client::Client,
    error::{Error, Result},
};

/// A broker that serves until it is dropped. It listens at an abstract address that no other has, so that it leaves no file behind,
/// even when the process is killed. For a single service, [`Client::connected_pair`] does without a broker.
///
/// ```
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u32);
/// # impl ipc_client::Method for Double {
/// #     const SERVICE: &'static str = "double";
/// #     const METHOD: &'static str = "";
/// #     type Reply = u32;
/// #     type Error = std::convert::Infallible;
/// # }
/// use ipc_client::{Service, testing};
///
/// let broker = testing::broker()?;
/// let _serving = Service::new("double").address(broker.address()).quick(|of: Double, _| Ok(of.0 * 2)).start()?;
/// assert_eq!(broker.client()?.call(&Double(2))?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    address: Address,
    /// Dropped, it stops the broker.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a broker with default limits.
///
/// # Errors
/// `internal` if the system refuses a socket or a thread.
pub fn broker() -> Result<Broker> {
    with_config(|_| {})
}

/// Starts a broker with other limits: `with_config(|config| config.limits.calls_per_caller = 4)`.
///
/// # Errors
/// As [`broker`].
pub fn with_config(change: impl FnOnce(&mut ipcd::Config)) -> Result<Broker> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let address = Address::Abstract(format!("ipcd-testing-{}-{number}", process::id()).into_bytes());
    let mut config = ipcd::Config::new(address.clone());
    change(&mut config);
    let server = ipcd::Server::bind(config)
        .map_err(|error| Error::new(ErrorCode::INTERNAL, format!("cannot start a broker: {error}")))?;
    let (stop, stopped) = UnixStream::pair().map_err(|error| Error::host("make a socket pair", error))?;
    let thread = thread::Builder::new()
        .name("testing broker".to_owned())
        .spawn(move || drop(server.run(stopped.into())))
        .map_err(|error| Error::host("start a thread", error))?;
    Ok(Broker { address, stop: Some(stop), thread: Some(thread) })
}

impl Broker {
    /// Where it listens: for [`Service::address`] and [`Client::connect_to`], and as text for `IPCD_SOCKET` of a program under test.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// As [`Client::connect_to`].
    pub fn client(&self) -> Result<Client> {
        Client::connect_to(&self.address)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
