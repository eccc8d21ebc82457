//! What happens to a service after it was registered, for those who watch over it.

use crate::error::Error;

/// A change of a service's standing at the broker: see [`Service::on_change`](super::Service::on_change).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// The connection has ended. The service tries to register again, unless it was stopped.
    Lost(Error),
    /// An attempt to register again has failed, and another one follows.
    Refused(Error),
    /// It is registered again.
    Returned,
}

/// Who is told.
pub(crate) type Observer = Box<dyn Fn(&Change) + Send + Sync>;
