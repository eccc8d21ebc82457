//! What a client remembers of the typed methods it calls: their encoded routing sections, and the encoding their services take.

use ipc_protocol::{Encoding, FieldTag, Fingerprint, MethodName, Routing, ServiceName};

use crate::{
    contract::Contract, error::Error, method::Method, session::outgoing::misnamed, stream_method::StreamMethod,
};

/// Typed methods that were called, the one called last in front: a program calls few methods, and mostly the same again. Grows with
/// the method types of the program, not with calls.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    names: Names,
    routing: Routing,
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug)]
struct Names {
    service: &'static str,
    method: &'static str,
}

impl Names {
    /// Names of the same type are mostly the same text in memory.
    fn are(self, other: Self) -> bool {
        let is_same = |one: &'static str, other: &'static str| std::ptr::eq(one, other) || one == other;
        is_same(self.method, other.method) && is_same(self.service, other.service)
    }
}

impl Routes {
    /// Routing section and encoding for a call of `M`.
    ///
    /// # Errors
    /// `usage` if the names in `M` are not valid.
    pub(crate) fn of<M: Method>(&mut self) -> Result<(Routing, Encoding), Error> {
        self.route(Names { service: M::SERVICE, method: M::METHOD }, Contract::of::<M>)
    }

    /// Routing section and encoding for a call of `M` with streams.
    ///
    /// # Errors
    /// As [`Routes::of`].
    pub(crate) fn of_stream<M: StreamMethod>(&mut self) -> Result<(Routing, Encoding), Error> {
        self.route(Names { service: M::SERVICE, method: M::METHOD }, Contract::of_stream::<M>)
    }

    fn route(&mut self, names: Names, contract: fn() -> Contract) -> Result<(Routing, Encoding), Error> {
        let known = self.0.iter().position(|route| route.names.are(names));
        match known {
            Some(0) => {}
            Some(at) => self.0.swap(0, at),
            None => self.add(names, contract)?,
        }
        let route = self.0.first().expect("it was found or added");
        Ok((route.routing.clone(), route.encoding))
    }

    /// From now on a service gets JSON.
    pub(crate) fn prefer_json(&mut self, service: &'static str) {
        for route in self.0.iter_mut().filter(|route| route.names.service == service) {
            route.encoding = Encoding::JSON;
        }
    }

    /// Puts a method in front, in the encoding that the others of its service have.
    fn add(&mut self, names: Names, contract: fn() -> Contract) -> Result<(), Error> {
        let service = ServiceName::parse(names.service).map_err(|e| misnamed("service", names.service, &e))?;
        let method = MethodName::parse(names.method).map_err(|e| misnamed("method", names.method, &e))?;
        let mut routing = Routing::to(service.as_str(), method.as_str());
        if let Some(Fingerprint(fingerprint)) = contract().fingerprint {
            routing.put(FieldTag::FINGERPRINT, &fingerprint.to_le_bytes());
        }
        let sibling = self.0.iter().find(|route| route.names.service == names.service);
        let encoding = sibling.map_or(Encoding::BINCODE, |route| route.encoding);
        self.0.insert(0, Route { names, routing: routing.build(), encoding });
        Ok(())
    }
}
