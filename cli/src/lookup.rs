//! Which service and method a name stands for, and what the service says of them.

use std::time::Duration;

use ipc_client::{
    Client, Description, Error, ErrorCode, MethodDescription, MethodName, Result, ServiceName, Target,
    control::{self, Shown, operation},
};

use crate::cache::{self, Subject};

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

/// What the service says of the method that a name stands for.
///
/// # Errors
/// As [`find`] and [`describe`]; `no_method` if it says nothing of it.
pub(crate) fn method(client: &Client, name: &ServiceName, time: Duration) -> Result<MethodDescription> {
    let found = find_with(client, name, time)?;
    let description = describe(client, &found, time)?;
    description.and_then(|mut description| description.methods.remove(&found.method())).ok_or_else(|| {
        Error::new(ErrorCode::NO_METHOD, format!("'{}' doesn't say what its types are", found.shown.name))
    })
}

fn split(name: &ServiceName) -> Option<(ServiceName, MethodName)> {
    let (service, method) = name.as_str().rsplit_once('.')?;
    Some((ServiceName::parse(service).ok()?, MethodName::parse(method).ok()?))
}

/// How long is waited for what is good to know and no more.
pub(crate) const ASIDE: Duration = Duration::from_millis(300);
