//! Calls whose types are known from what the service says of itself.

use ipc_client::{
    Client, CodecError, Encoding, Error, ErrorCode, Field, MethodDescription, Mismatch, Request, Response, Retry,
    Shape, Target,
};
use serde_json::{Map, Value};

use crate::{
    cache,
    lookup::{self, ASIDE, Found},
    nearest::nearest,
    problem::{Problem, Result},
};

/// Refuses a field that the service doesn't have, if what it says of itself is at hand: nothing is asked of the service, which may
/// be busy.
pub(crate) fn check(client: &Client, target: &Target, body: &[u8]) -> Result<()> {
    let (Target::Name(name), false) = (target, cache::is_empty()) else { return Ok(()) };
    lookup::find_with(client, name, ASIDE).map_or(Ok(()), |found| check_fields(&found, target, body))
}

/// As [`check`], before a call of which no one will tell that it went wrong. So the broker, which knows the methods, is asked in any case.
pub(crate) fn check_one_way(client: &Client, target: &Target, body: &[u8]) -> Result<()> {
    let Target::Name(name) = target else { return Ok(()) };
    let Ok(found) = lookup::find_with(client, name, ASIDE) else { return Ok(()) }; // the broker says why when it gets the call
    if found.may_have_method() { check_fields(&found, target, body) } else { Err(no_method(&found, target)) }
}

/// What was wrong with a call that has been refused. The service is asked what its methods take, and what it says is at hand the next
/// time.
pub(crate) fn explain(client: &Client, target: &Target, code: ErrorCode, body: &[u8]) -> Option<String> {
    let Target::Name(name) = target else { return None };
    let found = lookup::find_with(client, name, ASIDE).ok()?;
    match code {
        ErrorCode::NO_METHOD if !found.may_have_method() => Some(found.other_methods()),
        ErrorCode::INVALID => fault(target, &lookup::method(client, &found, ASIDE).ok()??, body),
        _ => None,
    }
}

/// A field as it is written before its value.
pub(crate) fn assigned(field: &Field) -> String {
    format!("{}{}", field.name, if is_text(&field.shape) { "=" } else { ":=" })
}

fn is_text(shape: &Shape) -> bool {
    match shape {
        Shape::Option(inner) => is_text(inner),
        shape => matches!(shape, Shape::Str | Shape::Char),
    }
}

fn check_fields(found: &Found, target: &Target, body: &[u8]) -> Result<()> {
    let known = || found.subject().as_ref().and_then(cache::read)?.methods.remove(&found.method());
    match known().and_then(|method| mismatch(&method, body)) {
        Some(mismatch) => Err(Problem::new(ErrorCode::INVALID, target.to_string(), mismatch.to_string())
            .hint(format!("it has not run{}", meant(&mismatch)))),
        None => Ok(()),
    }
}

/// What a body lacks, or has too much. What the values are is the service's own to say.
fn fault(target: &Target, method: &MethodDescription, body: &[u8]) -> Option<String> {
    if method.upload.is_some() || method.download.is_some() {
        return Some("call it with --stream".to_owned());
    }
    if let Some(name) = mismatch(method, body).as_ref().and_then(nearest_field) {
        return Some(format!("did you mean {name}?"));
    }
    let fields = method.request.as_ref()?.named_fields();
    let members: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let is_there = |name: &str| members.as_ref().is_some_and(|members| members.contains_key(name));
    let is_complete = fields.iter().all(|field| matches!(field.shape, Shape::Option(_)) || is_there(&field.name));
    if fields.is_empty() || members.is_some() && is_complete {
        return None;
    }
    let takes: Vec<String> = fields.iter().map(|field| assigned(field) + "…").collect();
    let empty = if body.is_empty() { "the body is empty; " } else { "" };
    Some(format!("{empty}{target} takes {}", takes.join(" ")))
}

fn mismatch(method: &MethodDescription, body: &[u8]) -> Option<Mismatch> {
    let value: Value = serde_json::from_slice(body).ok()?;
    method.request.as_ref()?.check_names(&value).err()
}

fn meant(mismatch: &Mismatch) -> String {
    nearest_field(mismatch).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn nearest_field(mismatch: &Mismatch) -> Option<&str> {
    nearest(&mismatch.field, mismatch.known.iter().map(String::as_str))
}

fn no_method(found: &Found, target: &Target) -> Problem {
    Problem::from_error(target.to_string(), &found.no_method())
        .hint(format!("it has not run; {}", found.other_methods()))
}

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
        let failed = |error: &Error| Problem::from_error(name.as_str(), error);
        let found = lookup::find_with(client, name, ASIDE).map_err(|error| failed(&error))?;
        if !found.may_have_method() {
            return Err(no_method(&found, target));
        }
        let method = lookup::method(client, &found, ASIDE).map_err(|error| failed(&error))?;
        let method = method.ok_or_else(|| {
            let text = format!("'{name}' doesn't say what its types are");
            failed(&Error::new(ErrorCode::NO_METHOD, text))
                .hint("bincode needs a service that describes itself; it has not run")
        })?;
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
