//! A service and a client that were built at different times: nothing is read as something else, and what JSON can bridge works.

use std::fmt::Debug;

use ipc_client::{Address, CallError, Client, ConnectedPair, ErrorCode, Method, Retry, Service, Serving, StreamMethod};
use serde::{Deserialize, Serialize};

/// One build of a method: `reserve` of the service `rooms`.
macro_rules! build {
    ($module:ident, { $($item:item)* } $($field:ident: $type:ty),*) => {
        mod $module {
            use super::*;
            #[derive(Debug, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct Reserve { $(pub(super) $field: $type),* }
            impl Method for Reserve {
                const SERVICE: &'static str = "rooms";
                const METHOD: &'static str = "reserve";
                type Reply = String;
                type Error = String;
            }
            /// Asks for as many rooms as items follow.
            #[derive(Debug, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct Plan { $(pub(super) $field: $type),* }
            impl StreamMethod for Plan {
                const SERVICE: &'static str = "rooms";
                const METHOD: &'static str = "plan";
                type In = Reserve;
                type Out = String;
                type Reply = String;
                type Error = String;
            }
            $($item)*
        }
    };
}

build!(old, {
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum Size { Small, Large }
} from: u32, to: u32, size: Size);
build!(gained_optional, {
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum Size { Small, Large }
} from: u32, to: u32, note: Option<String>, size: Size);
build!(gained, {
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum Size { Small, Large }
} from: u32, to: u32, guests: u32, size: Size);
build!(lost, {} from: u32, to: u32);
build!(swapped, {
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum Size { Small, Large }
} to: u32, from: u32, size: Size);
build!(reordered, {
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum Size { Large, Small }
} from: u32, to: u32, size: Size);

const ASKED: old::Reserve = old::Reserve { from: 3, to: 5, size: old::Size::Large };
const PLANNED: old::Plan = old::Plan { from: 1, to: 9, size: old::Size::Small };

/// A broker of the test's own, and a service of one method on it.
struct Rooms {
    address: Address,
    _serving: Serving,
    _stop: std::os::unix::net::UnixStream,
    _directory: tempfile::TempDir,
}

fn serve<M: Method<Reply = String, Error = String> + Debug>() -> Rooms {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Path(directory.path().join("ipcd.sock"));
    let (stop, stopped) = std::os::unix::net::UnixStream::pair().unwrap();
    let broker = ipcd::Server::bind(ipcd::Config::new(address.clone())).unwrap();
    std::thread::spawn(move || broker.run(stopped.into()));
    let service = Service::new("rooms").address(&address).quick(|request: M, _| Ok(format!("{request:?}")));
    Rooms { _serving: service.start().unwrap(), address, _stop: stop, _directory: directory }
}

fn ask(rooms: &Rooms) -> Result<String, CallError<String>> {
    Client::connect_to(&rooms.address).unwrap().call(&ASKED)
}

fn refused(rooms: &Rooms) -> ipc_client::Error {
    match ask(rooms) {
        Err(CallError::Failed(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_same_build_is_understood() {
    assert_eq!(ask(&serve::<old::Reserve>()).unwrap(), "Reserve { from: 3, to: 5, size: Large }");
}

#[test]
fn a_field_more_is_bridged_if_it_may_be_missing_and_named_if_not() {
    let optional = ask(&serve::<gained_optional::Reserve>()).unwrap();
    assert_eq!(optional, "Reserve { from: 3, to: 5, note: None, size: Large }");
    let required = refused(&serve::<gained::Reserve>());
    assert_eq!((required.code(), required.retry()), (ErrorCode::INVALID, Retry::Safe));
    assert!(required.to_string().contains("missing field `guests`"), "{required}");
}

#[test]
fn a_field_less_is_named() {
    let error = refused(&serve::<lost::Reserve>());
    assert_eq!((error.code(), error.retry()), (ErrorCode::INVALID, Retry::Safe));
    assert!(error.to_string().contains("unknown field `size`"), "{error}");
}

#[test]
fn swapped_fields_and_reordered_variants_mean_what_their_names_say() {
    assert_eq!(ask(&serve::<swapped::Reserve>()).unwrap(), "Reserve { to: 5, from: 3, size: Large }");
    assert_eq!(ask(&serve::<reordered::Reserve>()).unwrap(), "Reserve { from: 3, to: 5, size: Large }");
}

#[test]
fn a_service_says_what_its_methods_are_made_of() {
    let rooms = serve::<old::Reserve>();
    let client = Client::connect_to(&rooms.address).unwrap();
    let description = client.describe(&"rooms".parse().unwrap(), None).unwrap();
    let reserve = &description.methods[&"reserve".parse().unwrap()];
    let request = reserve.request.as_ref().unwrap();
    let fields: Vec<String> = request.named_fields().iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["from: u32", "to: u32", "size: Size"]);
    assert!(reserve.fingerprint.is_some());
    assert_eq!(reserve.json_schemas()["reply"], serde_json::json!({ "type": "string" }));
}

/// The service of a method with streams: each item comes back as it was read, and the reply is the request.
fn planning<M>() -> ConnectedPair
where
    M: StreamMethod<Out = String, Reply = String, Error = String> + Debug,
    M::In: Debug,
{
    let service = Service::new("rooms").stream(|plan: M, items, mut out, _| {
        for item in items {
            out.send(&format!("{:?}", item?))?;
        }
        Ok(format!("{plan:?}"))
    });
    Client::connected_pair(service).unwrap()
}

/// Sends items one after the other, each once the one before has come back.
fn plan(rooms: &ConnectedPair, count: usize) -> Result<(Vec<String>, String), CallError<String>> {
    let mut call = rooms.client.stream(&PLANNED)?;
    let mut planned = Vec::new();
    for _ in 0..count {
        call.send(&ASKED)?;
        planned.extend(call.next().transpose()?);
    }
    Ok((planned, call.end()?))
}

const READ: &str = "Reserve { from: 3, to: 5, size: Large }";

#[test]
fn a_stream_of_the_same_build_is_understood() {
    let (planned, plan) = plan(&planning::<old::Plan>(), 2).unwrap();
    assert_eq!((planned, plan.as_str()), (vec![READ.to_owned(); 2], "Plan { from: 1, to: 9, size: Small }"));
}

#[test]
fn a_stream_of_another_build_is_bridged_from_its_first_item() {
    let (planned, said) = plan(&planning::<swapped::Plan>(), 2).unwrap();
    assert_eq!(planned, ["Reserve { to: 5, from: 3, size: Large }"; 2]);
    assert_eq!(said, "Plan { to: 9, from: 1, size: Small }");
    let (planned, said) = plan(&planning::<reordered::Plan>(), 1).unwrap();
    assert_eq!((planned, said.as_str()), (vec![READ.to_owned()], "Plan { from: 1, to: 9, size: Small }"));
    let (planned, said) = plan(&planning::<gained_optional::Plan>(), 1).unwrap();
    assert_eq!(planned, ["Reserve { from: 3, to: 5, note: None, size: Large }"]);
    assert_eq!(said, "Plan { from: 1, to: 9, note: None, size: Small }");
}

#[test]
fn a_stream_that_json_cannot_bridge_is_refused_before_its_first_item() {
    for rooms in [planning::<gained::Plan>(), planning::<lost::Plan>()] {
        let Err(CallError::Failed(error)) = plan(&rooms, 1) else { panic!("not refused") };
        assert_eq!((error.code(), error.retry()), (ErrorCode::INVALID, Retry::Safe), "{error}");
        assert!(error.to_string().contains("field `"), "{error}");
    }
}

#[test]
fn items_of_two_threads_are_all_read_by_another_build_in_their_order() {
    let rooms = planning::<swapped::Plan>();
    let (mut up, mut down) = rooms.client.stream(&PLANNED).unwrap().split();
    let sending = std::thread::spawn(move || {
        let items = (0..1_000).map(|from| old::Reserve { from, to: 5, size: old::Size::Small });
        up.send_all(&items.collect::<Vec<_>>()).unwrap();
        up.finish();
    });
    let planned: Vec<String> = down.by_ref().map(Result::unwrap).collect();
    sending.join().unwrap();
    let wanted = (0..1_000).map(|from| format!("Reserve {{ to: 5, from: {from}, size: Small }}"));
    assert!(planned == wanted.collect::<Vec<_>>(), "{} items", planned.len());
    assert_eq!(down.end().unwrap(), "Plan { to: 9, from: 1, size: Small }");
}

#[test]
fn a_stream_without_items_is_bridged_at_its_end() {
    let rooms = planning::<swapped::Plan>();
    assert_eq!(rooms.client.stream(&PLANNED).unwrap().end().unwrap(), "Plan { to: 9, from: 1, size: Small }");
}
