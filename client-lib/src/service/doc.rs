//! What a service says about itself.

/// A service in words, as its trait has them: the macro writes it, [`Service::described`](crate::Service::described) keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceDoc {
    /// The name that the trait gives; the service may have another one.
    pub name: &'static str,
    /// The doc comment, a line each; empty without one.
    pub text: &'static str,
    /// In the order in which the trait has them.
    pub methods: &'static [MethodDoc],
    /// What it publishes.
    pub events: &'static [EventDoc],
}

/// A method in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodDoc {
    /// As callers name it; empty for the default method.
    pub name: &'static str,
    /// The doc comment.
    pub text: &'static str,
    /// The fields of the request, each with its type in Rust.
    pub arguments: &'static [(&'static str, &'static str)],
    /// The type of an item of the caller, in a method that takes such a stream.
    pub items: Option<&'static str>,
    /// The type of an item of the service, in a method that gives such a stream.
    pub gives: Option<&'static str>,
    /// The type of the reply; `()` for one that says no more than that the call has ended.
    pub reply: &'static str,
    /// The type of its own errors; `None` if it has none.
    pub error: Option<&'static str>,
    /// Whether a typed caller waits for no reply.
    pub is_one_way: bool,
}

/// An event in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventDoc {
    /// The topic that it is published on.
    pub topic: &'static str,
    /// The doc comment.
    pub text: &'static str,
    /// The fields of the event, each with its type in Rust.
    pub arguments: &'static [(&'static str, &'static str)],
}
