//! Calls whose types are known from what the service says of itself.

use ipc_client::{
    Client, CodecError, Encoding, Error, ErrorCode, MethodDescription, Mismatch, Request, Response, Retry, ServiceName,
    Target,
};
use serde_json::Value;

use crate::{
    cache,
    lookup::{self, ASIDE},
    problem::{Problem, Result},
};

/// Refuses a field that the service doesn't have, if what it says of itself is at hand: nothing is asked of the service, which may
/// be busy.
pub(crate) fn check(client: &Client, target: &Target, body: &[u8]) -> Result<()> {
    let (Target::Name(name), false) = (target, cache::is_empty()) else { return Ok(()) };
    let known = || {
        let found = lookup::find_with(client, name, ASIDE).ok()?;
        let mut description = found.subject().as_ref().and_then(cache::read)?;
        description.methods.remove(&found.method())
    };
    match known().and_then(|method| mismatch(&method, body)) {
        Some(mismatch) => Err(Problem::new(ErrorCode::INVALID, target.to_string(), mismatch.to_string())
            .hint(format!("it has not run{}", meant(&mismatch)))),
        None => Ok(()),
    }
}

/// What a service that has refused a body may have missed in it. The service is asked, and what it says is at hand the next time.
pub(crate) fn explain(client: &Client, target: &Target, body: &[u8]) -> Option<String> {
    let Target::Name(name) = target else { return None };
    let method = lookup::method(client, name, ASIDE).ok()?;
    let mismatch = mismatch(&method, body)?;
    Some(format!("it has not run{}", meant(&mismatch)))
}

fn mismatch(method: &MethodDescription, body: &[u8]) -> Option<Mismatch> {
    let value: Value = serde_json::from_slice(body).ok()?;
    method.request.as_ref()?.check_names(&value).err()
}

fn meant(mismatch: &Mismatch) -> String {
    nearest(&mismatch.field, &mismatch.known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// The name that was meant, if one is near.
fn nearest<'a>(typed: &str, known: &'a [String]) -> Option<&'a str> {
    let rated = known.iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    let (rate, name) = rated.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (rate > NEAR).then_some(name)
}

/// As near as clap wants names of options to be.
const NEAR: f64 = 0.7;

/// A method that is called in bincode.
pub(crate) struct Typed {
    target: Target,
    method: MethodDescription,
}

impl Typed {
    /// Asks for the types of a method.
    pub(crate) fn find(client: &Client, target: &Target) -> Result<Self> {
        let subject = target.to_string();
        let Target::Name(name) = target else {
            return Err(Problem::usage(&subject, "--encoding bincode needs the name of a service, not that of a peer"));
        };
        let method = lookup::method(client, name, ASIDE).map_err(|error| failed(name, &error))?;
        Ok(Self { target: target.clone(), method })
    }

    /// The same request, which is JSON, in bincode.
    pub(crate) fn encode(&self, mut request: Request) -> Result<Request> {
        let subject = self.target.to_string();
        let invalid = |reason: String| Problem::new(ErrorCode::INVALID, &subject, reason).hint("it has not run");
        let shape = self.method.request.as_ref().ok_or_else(|| invalid("its request has no known type".to_owned()))?;
        let body = if request.body.is_empty() { &b"null"[..] } else { &request.body };
        let value: Value =
            serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
        shape
            .check_names(&value)
            .map_err(|mismatch| invalid(mismatch.to_string()).hint(format!("it has not run{}", meant(&mismatch))))?;
        request.body = shape.to_bincode(&value).map_err(|error| invalid(error.to_string()))?.into();
        request.encoding = Encoding::BINCODE;
        request.fingerprint = self.method.fingerprint;
        Ok(request)
    }

    /// The same reply in JSON.
    pub(crate) fn decode(&self, response: Response) -> Result<Response> {
        let Some(shape) = self.method.reply.as_ref().filter(|_| response.encoding == Encoding::BINCODE) else {
            return Ok(response);
        };
        let json = shape.to_json(&response.body).map_err(|error| {
            let code = match error {
                CodecError::TooMuchJson(_) => ErrorCode::TOO_LARGE,
                _ => ErrorCode::PROTOCOL,
            };
            let error = Error::new(code, format!("the reply can't be read: {error}")).with_retry(Retry::Unknown);
            Problem::from_error(self.target.to_string(), &error).hint("the call has run")
        })?;
        Ok(Response::new(Encoding::JSON, json))
    }
}

fn failed(name: &ServiceName, error: &Error) -> Problem {
    match error.code() {
        ErrorCode::NO_METHOD => Problem::from_error(name.as_str(), error)
            .hint("bincode needs a service that describes itself; it has not run"),
        _ => Problem::from_error(name.as_str(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_near() {
        let known = ["article".to_owned(), "count".to_owned()];
        assert_eq!(nearest("artcle", &known), Some("article"));
        assert_eq!(nearest("cuont", &known), Some("count"));
        assert_eq!(nearest("zzz", &known), None);
    }
}
