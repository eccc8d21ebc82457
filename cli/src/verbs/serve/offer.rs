//! The service that is offered to the broker, as often as it takes to register it.

use std::{sync::Arc, time::Instant};

use ipc_client::{Address, Description, Service, ServiceName};

use super::{journal::Journal, shift::Shift, streamed::Cut};

/// Everything that the service consists of.
pub(crate) struct Offer {
    pub(crate) name: ServiceName,
    pub(crate) agent: String,
    pub(crate) jobs: u16,
    pub(crate) is_shared: bool,
    /// Whether calls with streams are answered, and what an item is.
    pub(crate) streams: Option<Cut>,
    pub(crate) description: Description,
    pub(crate) address: Option<Address>,
    pub(crate) shift: Arc<Shift>,
    pub(crate) journal: Arc<Journal>,
}

impl Offer {
    /// The service, ready to be started.
    pub(crate) fn service(&self) -> Service {
        let (shift, calls, changes) = (self.shift.clone(), self.journal.clone(), self.journal.clone());
        let mut service = Service::new(self.name.as_str())
            .agent(&self.agent)
            .described(self.description.clone())
            .threads(self.jobs.into())
            .on_change(move |change| changes.change(change))
            .any(move |incoming, context| {
                let began = Instant::now();
                let outcome = shift.answer(incoming, context);
                calls.call(incoming, context, began.elapsed(), &outcome);
                outcome
            });
        if let Some(cut) = self.streams {
            let (shift, calls) = (self.shift.clone(), self.journal.clone());
            service = service.any_stream(move |incoming, items, sink, context| {
                let began = Instant::now();
                let outcome = shift.answer_stream(cut, incoming, (items, sink), context);
                calls.call(incoming, context, began.elapsed(), &outcome);
                outcome
            });
        }
        if self.is_shared {
            service = service.shared();
        }
        match &self.address {
            Some(address) => service.address(address),
            None => service,
        }
    }
}
