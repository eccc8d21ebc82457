//! Which service and method a name stands for, and what the service says of them.

use std::time::Duration;

use ipc_client::{
    Client, Description, Error, ErrorCode, MethodDescription, MethodName, Result, ServiceName, Target,
    control::{self, Shown, operation},
};

use crate::{
    cache::{self, Subject},
    nearest::nearest,
};

/// A name as the broker knows it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) shown: Shown,
    /// The method that the name ends in, if it is one.
    pub(crate) method: Option<MethodName>,
}

impl Found {
    /// The method; the default one if the name is that of a service.
    pub(crate) fn method(&self) -> MethodName {
        self.method.clone().unwrap_or_default()
    }

    /// Whose description may be kept: none if the instances are of several users, or don't all have the same one.
    pub(crate) fn subject(&self) -> Option<Subject> {
        let mut all = self.shown.instances.iter().map(|instance| (instance.uid, instance.description));
        let (uid, fingerprint) = all.next()?;
        let is_one = all.all(|other| other == (uid, fingerprint));
        fingerprint.filter(|_| is_one).map(|fingerprint| Subject { service: self.shown.name.clone(), uid, fingerprint })
    }

    /// Whether the service may answer the method: one that names none may answer any.
    pub(crate) fn may_have_method(&self) -> bool {
        self.shown.methods.is_empty() || self.shown.methods.contains(&self.method())
    }

    /// The error of a method that the service doesn't have.
    pub(crate) fn no_method(&self) -> Error {
        let service = &self.shown.name;
        let text = match &self.method {
            Some(method) => format!("'{service}' has no method '{method}'"),
            None => format!("'{service}' has no default method"),
        };
        Error::new(ErrorCode::NO_METHOD, text)
    }

    /// What to do about that: the method that may be meant.
    pub(crate) fn other_methods(&self) -> String {
        let service = &self.shown.name;
        let meant = nearest(self.method().as_str(), self.shown.methods.iter().map(MethodName::as_str));
        let meant = meant.map(|method| format!("did you mean {service}.{method}? ")).unwrap_or_default();
        format!("{meant}see 'ipcctl show {service}'")
    }
}

/// Looks a name up: `calc.add` may be a service, or the method `add` of `calc`.
///
/// # Errors
/// `no_service`, or what else the broker says.
pub(crate) fn find(name: &ServiceName, show: impl Fn(&control::Show) -> Result<Shown>) -> Result<Found> {
    let asked = |name: &ServiceName| show(&control::Show { name: name.clone() });
    match (asked(name), split(name)) {
        (Err(error), Some((service, method))) if error.code() == ErrorCode::NO_SERVICE => {
            asked(&service).map_err(|_| error).map(|shown| Found { shown, method: Some(method) })
        }
        (shown, _) => Ok(Found { shown: shown?, method: None }),
    }
}

/// As [`find`], over a client.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_with(client: &Client, name: &ServiceName, time: Duration) -> Result<Found> {
    find(name, |show| client.ask::<operation::Show>(show, Some(time)))
}

/// What the service says of itself; none if it says nothing. Kept, so that it needn't be asked the next time.
///
/// # Errors
/// What the call ended with.
pub(crate) fn describe(client: &Client, found: &Found, time: Duration) -> Result<Option<Description>> {
    let is_described = found.shown.instances.iter().any(|instance| instance.description.is_some());
    if !is_described {
        return Ok(None);
    }
    let subject = found.subject();
    if let Some(known) = subject.as_ref().and_then(cache::read) {
        return Ok(Some(known));
    }
    let description = client.describe(&Target::Name(found.shown.name.clone()), Some(time))?;
    if let Some(subject) = subject {
        cache::keep(&subject, &description);
    }
    Ok(Some(description))
}

/// What the service says of the method that a name stands for; none if it says nothing.
///
/// # Errors
/// As [`describe`].
pub(crate) fn method(client: &Client, found: &Found, time: Duration) -> Result<Option<MethodDescription>> {
    let description = describe(client, found, time)?;
    Ok(description.and_then(|mut description| description.methods.remove(&found.method())))
}

fn split(name: &ServiceName) -> Option<(ServiceName, MethodName)> {
    let (service, method) = name.as_str().rsplit_once('.')?;
    Some((ServiceName::parse(service).ok()?, MethodName::parse(method).ok()?))
}

/// How long is waited for what is good to know and no more.
pub(crate) const ASIDE: Duration = Duration::from_millis(300);
