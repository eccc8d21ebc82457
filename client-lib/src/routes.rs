//! What a client remembers of the typed methods it calls: their encoded routing sections, and the encoding their services take.

use std::collections::{HashMap, HashSet};

use ipc_protocol::{Encoding, ErrorCode, FieldTag, MethodName, Routing, ServiceName, limits::MAX_NAME};

use crate::{error::Error, method::Method, request::Request};

/// Routing sections of typed methods. Grows with the method types of this program, not with calls.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    sections: HashMap<(&'static str, &'static str), Routing>,
    /// Services that do not take bincode.
    json: HashSet<&'static str>,
}

impl Routes {
    /// Routing section and encoding for a call of `M`.
    ///
    /// # Errors
    /// `usage` if the names in `M` are none.
    pub(crate) fn of<M: Method>(&mut self) -> Result<(Routing, Encoding), Error> {
        let encoding =
            if !self.json.is_empty() && self.json.contains(M::SERVICE) { Encoding::JSON } else { Encoding::BINCODE };
        if let Some(routing) = self.sections.get(&(M::SERVICE, M::METHOD)) {
            return Ok((routing.clone(), encoding));
        }
        let service = ServiceName::parse(M::SERVICE).map_err(|e| misnamed("service", M::SERVICE, &e))?;
        let method = MethodName::parse(M::METHOD).map_err(|e| misnamed("method", M::METHOD, &e))?;
        let routing = Routing::to(service.as_str(), method.as_str()).build();
        self.sections.insert((M::SERVICE, M::METHOD), routing.clone());
        Ok((routing, encoding))
    }

    /// From now on a service gets JSON.
    pub(crate) fn prefer_json(&mut self, service: &'static str) {
        self.json.insert(service);
    }
}

/// The routing section of a call of bytes.
///
/// # Errors
/// `usage` for a trace context that is too long.
pub(crate) fn of_request(request: &Request) -> Result<Routing, Error> {
    let method = request.method.as_ref().map_or(request.target.method(), MethodName::as_str);
    let mut routing = Routing::to(&request.target.service(), method);
    if let Some(trace) = &request.trace {
        if trace.len() > MAX_NAME {
            let text = format!("the trace context has {} bytes, at most {MAX_NAME} are possible", trace.len());
            return Err(Error::new(ErrorCode::USAGE, text));
        }
        routing.put(FieldTag::TRACE, trace.as_bytes());
    }
    Ok(routing.build())
}

pub(crate) fn misnamed(what: &str, name: &str, error: &ipc_protocol::InvalidName) -> Error {
    Error::new(ErrorCode::USAGE, format!("{name:?} is no name of a {what}: {error}"))
}
