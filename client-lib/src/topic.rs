//! The contract between a typed publisher and its subscribers.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

/// Something that events are about; the implementing type says on which topic, and what an event is.
///
/// Publisher and subscribers share the type. Its name may depend on a value, as that of one sensor among many does. Events travel as JSON,
/// so that a shell can read them; [`Event::decode`](crate::Event::decode) reads bincode as well.
///
/// ```
/// use std::borrow::Cow;
///
/// use ipc_client::Topic;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Celsius(f64);
///
/// struct Room(&'static str);
///
/// impl Topic for Room {
///     type Event = Celsius;
///     fn name(&self) -> Cow<'_, str> {
///         format!("home.{}.temperature", self.0).into()
///     }
/// }
/// # assert_eq!(Room("kitchen").name(), "home.kitchen.temperature");
/// ```
pub trait Topic {
    /// What is told.
    type Event: Serialize + DeserializeOwned;

    /// The name of the topic: labels joined by dots, at most 255 bytes, outside of `ipc`.
    fn name(&self) -> Cow<'_, str>;
}

/// A topic whose name never changes, and what is told on it.
///
/// ```
/// use ipc_client::FixedTopic;
///
/// const OUTSIDE: FixedTopic<f64> = FixedTopic::new("home.outside.temperature");
///
/// fn report(client: &ipc_client::Client) -> ipc_client::Result<u32> {
///     client.publish(&OUTSIDE, &21.5)
/// }
/// fn watch(client: &ipc_client::Client) -> ipc_client::Result<ipc_client::Subscription> {
///     client.subscribe(OUTSIDE)
/// }
/// ```
pub struct FixedTopic<T> {
    name: &'static str,
    told: PhantomData<fn() -> T>,
}

impl<T> FixedTopic<T> {
    /// The topic of this name. A bad one is an error of each use.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, told: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Topic for FixedTopic<T> {
    type Event = T;

    fn name(&self) -> Cow<'_, str> {
        self.name.into()
    }
}

impl<T> AsRef<str> for FixedTopic<T> {
    fn as_ref(&self) -> &str {
        self.name
    }
}

impl<T> Clone for FixedTopic<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for FixedTopic<T> {}

impl<T> fmt::Debug for FixedTopic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedTopic").field(&self.name).finish()
    }
}

/// A topic can be given by reference, too.
impl<T: Topic + ?Sized> Topic for &T {
    type Event = T::Event;

    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
}
