//! A subscription in the program's own loop.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use super::subscription::Subscription;
use crate::error::Result;

/// A [`Subscription`] with a descriptor that is readable when there may be something to do: the program's own loop waits for it, with
/// everything else that it waits for, and takes what is there with [`next_within`](Subscription::next_within) zero, until that gives `None`.
/// The descriptor stays the same after a reconnect, and tells when it is time to try one.
///
/// ```
/// use std::time::Duration;
///
/// use ipc_client::{Notice, poll::{PollFd, PollFlags, wait}};
///
/// # use ipc_client::{Client, Publication};
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// # let client = Client::connect_to(&address)?;
/// let mut news = client.subscribe("news.")?.watched()?;
/// # client.publish_bytes(&Publication::new("news.local".parse()?, "rain"))?;
/// # let mut seen = 0;
/// # while seen == 0 {
/// wait(&mut [PollFd::new(&news, PollFlags::IN)], None)?; // with everything else that the program waits for
/// while let Some(notice) = news.next_within(Duration::ZERO)? {
///     println!("{notice:?}");
/// #   seen += 1;
/// }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// More than one thread may share the client: what another thread has read for this subscription makes the descriptor readable, too.
pub struct Watched {
    subscription: Subscription,
    descriptor: Arc<OwnedFd>,
}

impl Subscription {
    /// The same subscription, with a descriptor for the program's own loop.
    ///
    /// # Errors
    /// `internal` if the system has no descriptors left.
    pub fn watched(mut self) -> Result<Watched> {
        let descriptor = self.watch()?;
        Ok(Watched { subscription: self, descriptor })
    }
}

impl Deref for Watched {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Subscription {
        &mut self.subscription
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.subscription).finish()
    }
}
