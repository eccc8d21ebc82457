//! What the code that the macros write stands on: not for programs, it changes with them.

use std::{fmt, sync::Arc};

pub use bytes::Bytes;
pub use serde;
use serde::Serializer;

#[cfg(feature = "tokio")]
use crate::aio::{AsyncContext, AsyncItems, AsyncService, AsyncSink};
use crate::{
    app_error::MethodError,
    description::{Description, EventDescription, MethodDescription},
    method::Method,
    service::{Context, Failed, Service},
    shape::Type,
    stream::{Items, Sink},
    stream_method::StreamMethod,
};

/// The doc comments of a trait.
#[derive(Debug)]
pub struct Doc {
    pub name: &'static str,
    pub text: &'static str,
    pub methods: &'static [MethodDoc],
    pub events: &'static [EventDoc],
}

/// The doc comment of a method.
#[derive(Debug)]
pub struct MethodDoc {
    pub name: &'static str,
    pub text: &'static str,
    pub is_one_way: bool,
}

/// The doc comment of an event, and how its type is traced.
#[derive(Debug)]
pub struct EventDoc {
    pub topic: &'static str,
    pub text: &'static str,
    pub event: fn() -> Option<Type>,
}

impl Doc {
    fn description(&self) -> Description {
        let method = |doc: &MethodDoc| {
            let described = MethodDescription {
                about: doc.text.to_owned(),
                one_way: doc.is_one_way,
                ..MethodDescription::default()
            };
            Some((doc.name.parse().ok()?, described)) // a wrong name is a mistake that the service reports itself
        };
        let event = |doc: &EventDoc| {
            let described = EventDescription { about: doc.text.to_owned(), event: (doc.event)() };
            (doc.topic.to_owned(), described)
        };
        Description {
            about: self.text.to_owned(),
            methods: self.methods.iter().filter_map(method).collect(),
            events: self.events.iter().map(event).collect(),
        }
    }
}

/// A service whose methods are those of a value.
pub struct Implemented<T> {
    by: Arc<T>,
    service: Service,
}

impl<T: Send + Sync + 'static> Implemented<T> {
    /// A service without methods.
    pub fn new(by: T, doc: &Doc) -> Self {
        Self { by: Arc::new(by), service: Service::new(doc.name).described(doc.description()) }
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

/// A service whose methods are the futures of a value.
#[cfg(feature = "tokio")]
pub struct AsyncImplemented<T> {
    by: Arc<T>,
    service: AsyncService,
}

#[cfg(feature = "tokio")]
impl<T: Send + Sync + 'static> AsyncImplemented<T> {
    /// A service without methods.
    pub fn new(by: T, doc: &Doc) -> Self {
        Self { by: Arc::new(by), service: AsyncService::new(doc.name).described(doc.description()) }
    }

    /// As [`AsyncService::method`].
    #[must_use]
    pub fn method<M, F>(mut self, answer: impl Fn(Arc<T>, M, AsyncContext) -> F + Send + Sync + 'static) -> Self
    where
        M: Method<Reply: Send, Error: Send> + Send + 'static,
        F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
    {
        let by = self.by.clone();
        self.service = self.service.method(move |request, context| answer(by.clone(), request, context));
        self
    }

    /// As [`AsyncService::quick`].
    #[must_use]
    pub fn quick<M: Method>(
        mut self,
        answer: impl Fn(&T, M, &AsyncContext) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        let by = self.by.clone();
        self.service = self.service.quick(move |request, context| answer(&by, request, context));
        self
    }

    /// As [`AsyncService::stream`].
    #[must_use]
    pub fn stream<M, F>(
        mut self,
        answer: impl Fn(Arc<T>, M, AsyncItems<M::In>, AsyncSink<M::Out>, AsyncContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        M: StreamMethod<Reply: Send, Error: Send> + Send + 'static,
        F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
    {
        let by = self.by.clone();
        self.service =
            self.service.stream(move |request, items, sink, context| answer(by.clone(), request, items, sink, context));
        self
    }

    /// The service, with all its methods.
    pub fn into_service(self) -> AsyncService {
        self.service
    }
}

#[cfg(feature = "tokio")]
impl<T> fmt::Debug for AsyncImplemented<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncImplemented").field(&self.service).finish()
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
