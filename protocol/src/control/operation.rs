//! The operations themselves: a type for each, which ties the method's name to its request and its answer.
//!
//! The client calls one as `Client::control::<operation::List>`, the broker matches a call's method against `List::NAME`; so a
//! request can't be sent to the wrong method or read as the wrong answer.

use serde::{Serialize, de::DeserializeOwned};

use crate::control;

/// An operation of service `ipc`.
pub trait Operation {
    /// The method, as it stands in the routing section.
    const NAME: &'static str;
    /// The body of the call.
    type Request: Serialize + DeserializeOwned;
    /// The body of the reply.
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $operation:ident = $name:literal, $request:ident => $answer:ident;)*) => {
        $($(#[doc = $doc])+
        #[derive(Clone, Copy, Debug)]
        pub struct $operation;

        impl Operation for $operation {
            const NAME: &'static str = $name;
            type Request = control::$request;
            type Answer = control::$answer;
        })*

        /// The name of each operation, in the order of the documentation.
        pub const NAMES: &[&str] = &[$($operation::NAME),*];
    };
}

operations! {
    /// Offers a name.
    Register = "register", Register => Registered;
    /// Takes a name back.
    Unregister = "unregister", Unregister => Empty;
    /// Lists the names on offer, a page at a time.
    List = "list", List => Names;
    /// Shows everything about one name.
    Show = "show", Show => Shown;
    /// Lists the connections, a page at a time.
    Peers = "peers", Peers => PeerPage;
    /// Reads the counters.
    Stats = "stats", Empty => Stats;
    /// Reads the limits and their use.
    Limits = "limits", Empty => Limits;
    /// Waits until a name appears, or is gone.
    Wait = "wait", Wait => Empty;
    /// Subscribes to the events of a pattern of topics.
    Subscribe = "subscribe", Subscribe => Subscribed;
    /// Ends a subscription.
    Unsubscribe = "unsubscribe", Unsubscribe => Empty;
    /// Lists the topics whose last event is kept, a page at a time.
    Topics = "topics", Topics => TopicPage;
    /// Takes a lock, once it is free.
    Lock = "lock", Lock => Empty;
    /// Gives a lock back.
    Unlock = "unlock", Unlock => Empty;
    /// Answers: the broker's default method.
    Ping = "ping", Empty => Empty;
}
