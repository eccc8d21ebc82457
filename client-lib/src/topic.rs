//! The contract between a typed publisher and its subscribers.

use std::borrow::Cow;

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

/// A topic can be given by reference, too.
impl<T: Topic + ?Sized> Topic for &T {
    type Event = T::Event;

    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
}
