//! What futures hold by a connection: locks, which are gone with it.

use std::pin::pin;

use ipc_protocol::ServiceName;

use super::connection::Connection;
use crate::error::Error;

impl Connection {
    /// Notes that a lock is held here, or asked for. False if that is so already.
    pub(crate) fn claim(&self, lock: &ServiceName) -> bool {
        self.wire.lock().claimed.insert(lock.clone())
    }

    /// The lock is neither held here nor asked for.
    pub(crate) fn disclaim(&self, lock: &ServiceName) {
        self.wire.lock().claimed.remove(lock);
    }

    /// Whether the connection has not ended. Reads what is there, so that an end is seen that the driver has had no turn for.
    pub(crate) fn is_alive(&self) -> bool {
        let mut state = self.wire.lock();
        self.wire.catch_up(&mut state);
        state.session.takes_more()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn lost(&self) -> Error {
        loop {
            let mut told = pin!(self.wire.ended.notified());
            told.as_mut().enable();
            if let Some(loss) = self.wire.lock().session.loss() {
                return Error::new(loss.code, loss.text.clone());
            }
            told.await;
        }
    }
}
