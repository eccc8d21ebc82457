//! What a client remembers of the typed methods it calls: their encoded routing sections, and the encoding their services take.

use std::borrow::Cow;

use ipc_protocol::{Encoding, FieldTag, Fingerprint, MethodName, Routing, ServiceName};

use crate::{
    contract::Contract, error::Error, method::Method, session::outgoing::misnamed, stream_method::StreamMethod,
};

/// Typed methods that were called, the one called last in front: a program calls few methods, and mostly the same again. Grows with
/// the method types of the program, not with calls, and no further than [`MOST`] where services are named at run time.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    service: Cow<'static, str>,
    method: &'static str,
    routing: Routing,
    encoding: Encoding,
}

/// A method as a type has it.
#[derive(Clone, Copy)]
struct Known {
    service: &'static str,
    method: &'static str,
    contract: fn() -> Contract,
}

impl Route {
    /// Names of the same type are mostly the same text in memory.
    fn is_of(&self, service: &str, method: &str) -> bool {
        let is_same = |one: &str, other: &str| std::ptr::eq(one, other) || one == other;
        is_same(self.method, method) && is_same(&self.service, service)
    }
}

impl Routes {
    /// Routing section and encoding for a call of `M`, to the service called `name` or to the one that `M` names.
    ///
    /// # Errors
    /// `usage` if a name is not valid.
    pub(crate) fn of<M: Method>(&mut self, name: Option<&str>) -> Result<(Routing, Encoding), Error> {
        self.route(name, Known { service: M::SERVICE, method: M::METHOD, contract: Contract::of::<M> })
    }

    /// Routing section and encoding for a call of `M` with streams.
    ///
    /// # Errors
    /// As [`Routes::of`].
    pub(crate) fn of_stream<M: StreamMethod>(&mut self, name: Option<&str>) -> Result<(Routing, Encoding), Error> {
        self.route(name, Known { service: M::SERVICE, method: M::METHOD, contract: Contract::of_stream::<M> })
    }

    fn route(&mut self, name: Option<&str>, known: Known) -> Result<(Routing, Encoding), Error> {
        let service = name.unwrap_or(known.service);
        match self.0.iter().position(|route| route.is_of(service, known.method)) {
            Some(0) => {}
            Some(at) => self.0.swap(0, at),
            None => {
                let service = name.map_or(Cow::Borrowed(known.service), |name| Cow::Owned(name.to_owned()));
                self.add(service, known)?;
            }
        }
        let route = self.0.first().expect("it was found or added");
        Ok((route.routing.clone(), route.encoding))
    }

    /// From now on a service gets JSON.
    pub(crate) fn prefer_json(&mut self, service: &[u8]) {
        for route in self.0.iter_mut().filter(|route| route.service.as_bytes() == service) {
            route.encoding = Encoding::JSON;
        }
    }

    /// Puts a method in front, in the encoding that the others of its service have.
    fn add(&mut self, service: Cow<'static, str>, known: Known) -> Result<(), Error> {
        let name = ServiceName::parse(&service).map_err(|e| misnamed("service", &service, &e))?;
        let method = MethodName::parse(known.method).map_err(|e| misnamed("method", known.method, &e))?;
        let mut routing = Routing::to(name.as_str(), method.as_str());
        if let Some(Fingerprint(fingerprint)) = (known.contract)().fingerprint {
            routing.put(FieldTag::FINGERPRINT, &fingerprint.to_le_bytes());
        }
        let sibling = self.0.iter().find(|route| route.service == service);
        let encoding = sibling.map_or(Encoding::BINCODE, |route| route.encoding);
        self.0.truncate(MOST - 1);
        self.0.insert(0, Route { service, method: known.method, routing: routing.build(), encoding });
        Ok(())
    }
}

/// How many are remembered. One that is forgotten is made anew, and asked in bincode once more.
const MOST: usize = 256;
