//! What a client remembers of the typed methods it calls: their encoded routing sections, and the encoding their services take.

use ipc_protocol::{Encoding, MethodName, Routing, ServiceName};

use crate::{error::Error, method::Method, session::outgoing::misnamed};

/// Typed methods that were called, the one called last in front: a program calls few methods, and mostly the same again. Grows with
/// the method types of the program, not with calls.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    service: &'static str,
    method: &'static str,
    routing: Routing,
    encoding: Encoding,
}

impl Route {
    /// Names of the same type are mostly the same text in memory.
    fn is_of<M: Method>(&self) -> bool {
        let is_same = |one: &'static str, other: &'static str| std::ptr::eq(one, other) || one == other;
        is_same(self.method, M::METHOD) && is_same(self.service, M::SERVICE)
    }
}

impl Routes {
    /// Routing section and encoding for a call of `M`.
    ///
    /// # Errors
    /// `usage` if the names in `M` are not valid.
    pub(crate) fn of<M: Method>(&mut self) -> Result<(Routing, Encoding), Error> {
        let known = self.0.iter().position(Route::is_of::<M>);
        match known {
            Some(0) => {}
            Some(at) => self.0.swap(0, at),
            None => self.add::<M>()?,
        }
        let route = self.0.first().expect("it was found or added");
        Ok((route.routing.clone(), route.encoding))
    }

    /// From now on a service gets JSON.
    pub(crate) fn prefer_json(&mut self, service: &'static str) {
        for route in self.0.iter_mut().filter(|route| route.service == service) {
            route.encoding = Encoding::JSON;
        }
    }

    /// Puts a method in front, in the encoding that the others of its service have.
    fn add<M: Method>(&mut self) -> Result<(), Error> {
        let service = ServiceName::parse(M::SERVICE).map_err(|e| misnamed("service", M::SERVICE, &e))?;
        let method = MethodName::parse(M::METHOD).map_err(|e| misnamed("method", M::METHOD, &e))?;
        let routing = Routing::to(service.as_str(), method.as_str()).build();
        let sibling = self.0.iter().find(|route| route.service == M::SERVICE);
        let encoding = sibling.map_or(Encoding::BINCODE, |route| route.encoding);
        self.0.insert(0, Route { service: M::SERVICE, method: M::METHOD, routing, encoding });
        Ok(())
    }
}
