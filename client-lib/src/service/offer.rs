//! What a service offers, and how it says so to a broker.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use ipc_protocol::{
    ErrorCode, ServiceName,
    control::{Register, Unregister, operation},
};

use super::{
    change::{Change, Observer},
    methods::{Methods, Responder},
};
use crate::{
    description::{Description, Said},
    error::{Error, Result},
    link::blocking::{Connection, Departure},
    link::dial::Dial,
    session::{
        Role,
        outgoing::{Operated, decode_answer},
    },
};

/// A finished [`Service`](super::Service): but for what it says of itself, all stays the same while it serves.
pub(crate) struct Offer<R = Responder> {
    pub(crate) name: Option<ServiceName>,
    pub(crate) methods: Methods<R>,
    pub(crate) said: RwLock<Arc<Said>>,
    /// Threads of the pool, 0 if there is nothing for them to do.
    pub(crate) threads: usize,
    /// Calls taken at once; `None`: as many as there are threads.
    pub(crate) window: Option<u32>,
    pub(crate) shared: bool,
    pub(crate) dial: Dial,
    pub(crate) observer: Option<Observer>,
}

impl<R> Offer<R> {
    /// Registers the service on a connection, and waits for the answer.
    ///
    /// # Errors
    /// As [`Service::start`](super::Service::start).
    pub(crate) fn register(&self, connection: &Connection) -> Result<()> {
        let registration = self.registration()?;
        let exchanged = connection.exchange(&registration.outgoing(), Departure::AtOnce, Instant::now())?;
        let response = exchanged.ok_or_else(|| went_away(connection))?;
        decode_answer::<operation::Register>(&response).map(drop)
    }

    /// A new connection.
    ///
    /// # Errors
    /// `unavailable` or `denied`.
    pub(crate) fn connect(&self, patience: Duration) -> Result<Connection> {
        self.dial.connect(patience, Role::Service)
    }

    /// What asks for the name.
    ///
    /// # Errors
    /// `too_large` if the names of the methods don't fit a body.
    pub(crate) fn registration(&self) -> Result<Operated> {
        let said = self.said();
        let register = Register {
            streams: self.methods.have_streams(),
            name: self.name.clone(),
            window: self.window(),
            shared: self.shared,
            methods: said.names.clone(),
            description: said.description.as_ref().map(|description| description.fingerprint),
        };
        Operated::of::<operation::Register>(&register, Some(REGISTER_TIMEOUT))
    }

    /// What gives the name back.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn unregistration(&self) -> Result<Operated> {
        Operated::of::<operation::Unregister>(&Unregister { name: self.name.clone() }, Some(REGISTER_TIMEOUT))
    }

    /// What the service says of itself.
    pub(crate) fn said(&self) -> Arc<Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something else from now on; whether it is news.
    pub(crate) fn say(&self, description: Description) -> bool {
        let new = Said::of(description, self.methods.described());
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = |said: &Said| said.description.as_ref().map(|description| description.fingerprint);
        let is_news = fingerprint(&said) != fingerprint(&new);
        *said = Arc::new(new);
        is_news
    }

    /// Calls taken at once.
    pub(crate) fn window(&self) -> u32 {
        self.window.unwrap_or_else(|| u32::try_from(self.threads).unwrap_or(u32::MAX))
    }

    /// Tells the owner of the service.
    pub(crate) fn tell(&self, change: &Change) {
        if let Some(observer) = &self.observer {
            observer(change);
        }
    }

    /// Calls that may be running: the window, and those whose answer is on its way while the broker fills their places again.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.window()).unwrap_or(usize::MAX).saturating_add(self.threads)
    }
}

fn went_away(connection: &Connection) -> Error {
    Error::new(ErrorCode::BROKER_LOST, format!("the broker at {} went away at once", connection.place()))
}

/// A broker answers this itself, so it takes no time unless the broker hangs.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
