//! Routing: from a target to the place where its call goes.

use ipc_protocol::{PeerNumber, Routing, control};

use super::{
    names::{Names, Place},
    peers::Peers,
    refusal::Refusal,
};

/// The destination of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The broker's own service.
    Broker,
    /// A service.
    Place(Place),
}

/// Finds the destination of a call, and splits a dotted target into service and method (docs/protocol.md, "Targets").
pub(crate) fn resolve(names: &Names, peers: &Peers, routing: &mut Routing) -> Result<Destination, Refusal> {
    let service = routing.service();
    if let Some(number) = PeerNumber::parse_address(service) {
        let peer = peers.by_number(number).and_then(|id| peers.get(id));
        let instance = peer.and_then(|peer| names.first_on_offer(&peer.instances));
        return instance.map(|id| Destination::Place(Place::Instance(id))).ok_or(Refusal::NoPeer(number));
    }
    if let Some(found) = find(names, service) {
        return Ok(found);
    }
    let unknown = || Refusal::NoService(service.escape_ascii().to_string());
    if !routing.method().is_empty() {
        return Err(unknown());
    }
    let text = str::from_utf8(service).map_err(|_| unknown())?;
    let (service, method) = text.rsplit_once('.').ok_or_else(unknown)?;
    let found = find(names, service.as_bytes()).ok_or_else(unknown)?;
    *routing = routing.retarget(service, method);
    Ok(found)
}

/// The name of the service that a resolved target leads to, for the policy; the caller's own words if it leads nowhere.
pub(crate) fn service_of<'a>(
    names: &'a Names,
    routing: &'a Routing,
    destination: Result<Destination, &Refusal>,
) -> &'a [u8] {
    let instance = match destination {
        Ok(Destination::Place(Place::Instance(id))) => names.instance(id),
        Ok(Destination::Broker | Destination::Place(Place::Name(_))) | Err(_) => None,
    };
    let name = instance.and_then(|instance| names.name(instance.name?));
    name.map_or(routing.service(), |name| name.name.as_str().as_bytes())
}

fn find(names: &Names, service: &[u8]) -> Option<Destination> {
    if service == control::SERVICE.as_bytes() {
        return Some(Destination::Broker);
    }
    names.find(service).map(|id| Destination::Place(Place::Name(id)))
}

#[cfg(test)]
mod tests {
    use ipc_protocol::{Identity, MethodName, ServiceName};

    use super::*;
    use crate::core::{limits::Limits, moment::Moment, names::Instance, policy::Effect, post::Post};

    fn resolved(target: &str, method: &str) -> (Result<Destination, Refusal>, Routing, Names) {
        let (mut names, mut post) = (Names::new(), Post::new(Limits::default()));
        let peer = post.admit(
            Moment(0),
            Identity::new(7, 7),
            Effect::Allow,
            &mut Vec::<crate::core::Output<ipc_protocol::NoFd>>::new(),
        );
        let name = ServiceName::parse("calc").unwrap();
        let methods: Vec<MethodName> = Vec::new();
        let request = control::Register {
            streams: false,
            name: Some(name.clone()),
            window: 1,
            shared: false,
            methods,
            description: None,
        };
        let id = names.register(Some(&name), false, Instance::new(peer, request));
        post.peers.get_mut(peer).unwrap().instances.push(id);
        let mut routing = Routing::to(target, method).build();
        let found = resolve(&names, &post.peers, &mut routing);
        (found, routing, names)
    }

    #[test]
    fn a_dotted_target_is_split_where_only_its_parent_is_a_name() {
        let (found, routing, names) = resolved("calc.add", "");
        assert_eq!(found, Ok(Destination::Place(Place::Name(names.find(b"calc").unwrap()))));
        assert_eq!((routing.service(), routing.method()), (&b"calc"[..], &b"add"[..]));
    }

    #[test]
    fn the_policy_sees_the_service_behind_a_peers_number() {
        let (found, routing, names) = resolved("@1", "add");
        let found = found.as_ref().map(|found| *found);
        assert!(matches!(found, Ok(Destination::Place(Place::Instance(_)))), "{found:?}");
        assert_eq!(service_of(&names, &routing, found), b"calc");
    }

    #[test]
    fn a_target_with_a_method_is_not_split() {
        let (found, ..) = resolved("calc.add", "twice");
        assert_eq!(found, Err(Refusal::NoService("calc.add".to_owned())));
    }
}
