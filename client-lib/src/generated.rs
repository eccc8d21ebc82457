//! What the code that the macros write stands on: not for programs, it changes with them.

use std::{fmt, sync::Arc};

pub use bytes::Bytes;
pub use serde;
use serde::Serializer;

use crate::{
    app_error::MethodError,
    method::Method,
    service::{Context, Failed, Service, ServiceDoc},
    stream::{Items, Sink},
    stream_method::StreamMethod,
};

/// A service whose methods are those of a value.
pub struct Implemented<T> {
    by: Arc<T>,
    service: Service,
}

impl<T: Send + Sync + 'static> Implemented<T> {
    /// A service without methods.
    pub fn new(by: T, doc: &'static ServiceDoc) -> Self {
        Self { by: Arc::new(by), service: Service::new(doc.name).described(doc) }
    }

    /// As [`Service::method`].
    #[must_use]
    pub fn method<M: Method>(
        mut self,
        answer: impl Fn(&T, M, &Context) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        let by = self.by.clone();
        self.service = self.service.method(move |request, context| answer(&by, request, context));
        self
    }

    /// As [`Service::quick`].
    #[must_use]
    pub fn quick<M: Method>(
        mut self,
        answer: impl Fn(&T, M, &Context) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        let by = self.by.clone();
        self.service = self.service.quick(move |request, context| answer(&by, request, context));
        self
    }

    /// As [`Service::stream`].
    #[must_use]
    pub fn stream<M: StreamMethod>(
        mut self,
        answer: impl Fn(&T, M, Items<M::In>, Sink<M::Out>, &Context) -> Result<M::Reply, Failed<M::Error>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let by = self.by.clone();
        self.service =
            self.service.stream(move |request, items, sink, context| answer(&by, request, items, sink, context));
        self
    }

    /// The service, with all its methods.
    pub fn into_service(self) -> Service {
        self.service
    }
}

impl<T> fmt::Debug for Implemented<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Implemented").field(&self.service).finish()
    }
}

/// Sends all that an iterator yields.
///
/// # Errors
/// As [`Sink::send`].
pub fn pour<T: serde::Serialize, E: MethodError>(
    items: impl Iterator<Item = T>,
    mut sink: Sink<T>,
) -> Result<(), Failed<E>> {
    for item in items {
        sink.send(&item)?;
    }
    Ok(())
}

/// Sends what an iterator yields until it yields an error.
///
/// # Errors
/// That error; as [`Sink::send`].
pub fn try_pour<T: serde::Serialize, X, E: MethodError>(
    items: impl Iterator<Item = Result<T, X>>,
    mut sink: Sink<T>,
) -> Result<(), Failed<E>>
where
    Failed<E>: From<X>,
{
    for item in items {
        sink.send(&item?)?;
    }
    Ok(())
}

/// Bytes of a request, to serde: one piece instead of a list of numbers, which has the same form in bincode and is written faster.
///
/// # Errors
/// Those of the serializer.
pub fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
