//! Services as traits, with a real broker: every kind of method, and the plain ones beside them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc},
    time::Duration,
};

use ipc_client::{
    AppError, Attempts, CallError, Client, Context, ErrorCode, Failed, Items, Method, Notice, Remote, Service, Serving,
    Shape, Sink,
};
use ipc_tests::{broker::Broker, eventually::SOON};
use serde::{Deserialize, Serialize};

/// A store of everything that a trait can say.
#[ipc_client::service(name = "depot")]
trait Depot {
    /// The sum of two numbers.
    ///
    /// It may be too large.
    #[quick]
    fn add(&self, a: i64, b: i64) -> Result<i64, DepotError>;
    /// Borrows all that can be borrowed.
    fn join(&self, text: &str, bytes: &[u8], numbers: &[u16], end: Option<&str>) -> String;
    fn swap(&self, pair: &Pair) -> Pair;
    #[quick]
    fn status(&self) -> Status;
    fn uid(&self, context: &Context, plus: u32) -> u32;
    #[name = "find-all"]
    fn find(&self, prefix: &str) -> impl Iterator<Item = String>;
    /// A stream that may say no, at first and between items.
    fn halves(&self, of: Vec<u32>) -> Result<impl Iterator<Item = Result<u32, DepotError>>, DepotError>;
    fn store(&self, name: &str, parts: Items<bytes::Bytes>) -> Result<u64, DepotError>;
    fn shout(&self, words: Items<String>, out: Sink<String>) -> Result<u32, Failed<DepotError>>;
    #[one_way]
    fn log(&self, line: &str);
    /// Asks another service.
    fn ask(&self, context: &Context, service: &str) -> Result<i64, Failed<DepotError>>;
    /// Asks another service, and says its errors as own ones.
    fn relay(&self, context: &Context, service: &str) -> Result<i64, DepotError>;
    /// How many calls were refused before one was not.
    #[quick]
    fn busy(&self, times: u32) -> Result<u32, Failed<DepotError>>;
    /// A sum is there.
    #[event(topic = "depot.sum")]
    fn summed(sum: i64, of: &str);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, u8);

/// Has the name that a request of a method of the same name would have.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Status {
    items: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, AppError)]
enum DepotError {
    #[code = 2]
    #[text = "the sum is too large"]
    TooLarge,
    #[code = 7]
    #[text = "{0} is odd"]
    Odd(u32),
    #[code = 8]
    #[text = "asked {0}"]
    #[nested]
    Nested(String),
}

#[derive(Default)]
struct MyDepot {
    items: Mutex<BTreeMap<String, u64>>,
    refused: Mutex<u32>,
    log: Option<mpsc::Sender<String>>,
}

impl Depot for MyDepot {
    fn add(&self, a: i64, b: i64) -> Result<i64, DepotError> {
        a.checked_add(b).ok_or(DepotError::TooLarge)
    }

    fn join(&self, text: &str, bytes: &[u8], numbers: &[u16], end: Option<&str>) -> String {
        format!("{text} {bytes:?} {numbers:?} {end:?}")
    }

    fn swap(&self, pair: &Pair) -> Pair {
        Pair(pair.1, pair.0)
    }

    fn status(&self) -> Status {
        Status { items: self.items.lock().unwrap().len() }
    }

    fn uid(&self, context: &Context, plus: u32) -> u32 {
        context.caller().identity.uid + plus
    }

    fn find(&self, prefix: &str) -> impl Iterator<Item = String> {
        let found: Vec<String> =
            self.items.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        found.into_iter()
    }

    fn halves(&self, of: Vec<u32>) -> Result<impl Iterator<Item = Result<u32, DepotError>>, DepotError> {
        if of.is_empty() {
            return Err(DepotError::TooLarge);
        }
        Ok(of.into_iter().map(|number| if number % 2 == 0 { Ok(number / 2) } else { Err(DepotError::Odd(number)) }))
    }

    fn store(&self, name: &str, parts: Items<bytes::Bytes>) -> Result<u64, DepotError> {
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.items.lock().unwrap().insert(name.to_owned(), len);
        Ok(len)
    }

    fn shout(&self, words: Items<String>, mut out: Sink<String>) -> Result<u32, Failed<DepotError>> {
        let mut count = 0;
        for word in words {
            out.send(&word?.to_uppercase())?;
            count += 1;
        }
        Ok(count)
    }

    fn log(&self, line: &str) {
        self.log.iter().for_each(|log| log.send(line.to_owned()).unwrap());
    }

    fn ask(&self, context: &Context, service: &str) -> Result<i64, Failed<DepotError>> {
        Ok(DepotClient::new(context.client()).named(service).add(1, 2)?)
    }

    fn relay(&self, context: &Context, service: &str) -> Result<i64, DepotError> {
        let sum = DepotClient::new(context.client()).named(service).add(1, 2)?;
        DepotSummed { sum, of: service.to_owned() }.publish(context.client())?;
        Ok(sum)
    }

    fn busy(&self, times: u32) -> Result<u32, Failed<DepotError>> {
        let mut refused = self.refused.lock().unwrap();
        if *refused < times {
            *refused += 1;
            return Err(Failed::busy("not yet"));
        }
        Ok(*refused)
    }
}

fn serve(broker: &Broker) -> Serving {
    MyDepot::default().into_service().address(&broker.address()).start().unwrap()
}

fn connect(broker: &Broker) -> DepotClient {
    DepotClient::new(&Client::connect_to(&broker.address()).unwrap())
}

#[test]
fn a_method_of_a_trait_is_called_with_its_arguments() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    assert_eq!(depot.add(1, 2).unwrap(), 3);
    assert_eq!(depot.status().unwrap(), Status { items: 0 });
    let joined = depot.join("text", b"by", &[300, 4], Some("end")).unwrap();
    assert_eq!(joined, r#"text [98, 121] [300, 4] Some("end")"#);
    assert_eq!(depot.swap(&Pair(5, 6)).unwrap(), Pair(6, 5));
    assert_eq!(depot.uid(7).unwrap(), nix::unistd::getuid().as_raw() + 7);
}

#[test]
fn an_own_error_comes_back_as_it_was_and_a_shell_has_its_code_and_text() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let error = connect(&broker).add(i64::MAX, 1).unwrap_err();
    assert!(matches!(error, CallError::App(DepotError::TooLarge)) && !error.is_retry_safe(), "{error:?}");
    let told = broker.ipcctl(["send", "--propagate", "depot.add", "a:=9223372036854775807", "b:=1"]).run();
    assert_eq!(told.code, 2);
    assert!(told.stderr.contains("the sum is too large"), "{}", told.stderr);
}

#[test]
fn json_may_name_the_arguments_or_have_them_in_their_order() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let send = |arguments: &[&str]| broker.ipcctl(["send"].iter().chain(arguments)).run();
    assert_eq!(send(&["depot.add", "a:=1", "b:=2"]).stdout(), "3\n");
    assert_eq!(send(&["depot.add", r#"{"b":2,"a":1}"#]).stdout(), "3\n");
    assert_eq!(send(&["--encoding=json", "depot.add", "[1,2]"]).stdout(), "3\n");
    assert_eq!(send(&["depot.status"]).stdout(), "{\"items\":0}\n");
    let joined = send(&["--encoding=json", "depot.join", r#"["text",[98,121],[300],null]"#]).stdout();
    assert_eq!(joined, "\"text [98, 121] [300] None\"\n");
    let wrong = send(&["depot.add", "a:=1", "c:=2"]);
    assert!(wrong.code != 0 && wrong.stderr.contains('c'), "{} {}", wrong.code, wrong.stderr);
}

#[test]
fn streams_go_up_down_and_both_ways() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    let parts = || [&b"abc"[..], b"de"].map(bytes::Bytes::from_static);
    assert_eq!(depot.store("one", parts()).unwrap(), 5);
    assert_eq!(depot.store("other", parts()).unwrap(), 5);
    let found: Vec<_> = depot.find("on").unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(found, ["one"]);
    let mut shouting = depot.shout().unwrap();
    shouting.send(&"hello".to_owned()).unwrap();
    assert_eq!(shouting.next().unwrap().unwrap(), "HELLO");
    assert_eq!(shouting.end().unwrap(), 1);
    assert_eq!(broker.ipcctl(["send", "--stream", "depot.find-all", "prefix=o"]).prints_text(), "\"one\"\n\"other\"\n");
}

#[test]
fn a_stream_ends_with_the_error_that_it_yields() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    let mut halves = depot.halves(vec![4, 5, 6]).unwrap();
    assert_eq!(halves.next().unwrap().unwrap(), 2);
    assert!(matches!(halves.end(), Err(CallError::App(DepotError::Odd(5)))));
    let refused = depot.halves(Vec::new()).unwrap().end();
    assert!(matches!(refused, Err(CallError::App(DepotError::TooLarge))), "{refused:?}");
}

#[test]
fn a_one_way_method_is_told_and_nothing_is_waited_for() {
    let broker = Broker::start();
    let (log, logged) = mpsc::channel();
    let depot = MyDepot { log: Some(log), ..MyDepot::default() };
    let _serving = depot.into_service().address(&broker.address()).start().unwrap();
    connect(&broker).log("a line").unwrap();
    assert_eq!(logged.recv_timeout(SOON).unwrap(), "a line");
}

#[test]
fn one_trait_serves_under_several_names() {
    let broker = Broker::start();
    let _first = serve(&broker);
    let second = MyDepot { items: Mutex::new(BTreeMap::from([("kept".to_owned(), 1)])), ..MyDepot::default() };
    let _second = second.into_service().named("depot.second").address(&broker.address()).start().unwrap();
    let (first, second) = (connect(&broker), connect(&broker).named("depot.second").within(SOON));
    assert_eq!((first.status().unwrap().items, second.status().unwrap().items), (0, 1));
    assert_eq!((first.find("").unwrap().count(), second.find("").unwrap().count()), (0, 1));
    let gone = first.clone().named("depot.third").status().unwrap_err();
    assert_eq!((gone.code(), gone.is_retry_safe()), (ErrorCode::NO_SERVICE, true));
    assert_eq!(first.named("No Name").status().unwrap_err().code(), ErrorCode::USAGE);
}

/// `depot.plain`, as one writes it without the trait.
#[derive(Serialize, Deserialize)]
struct Plain {
    of: u32,
}

impl Method for Plain {
    const SERVICE: &'static str = "depot";
    const METHOD: &'static str = "plain";
    type Reply = u32;
    type Error = String;
}

#[test]
fn plain_methods_stand_beside_those_of_the_trait() {
    let broker = Broker::start();
    let service: Service = MyDepot::default().into_service().quick(|plain: Plain, _| Ok(plain.of + 1));
    let _serving = service.address(&broker.address()).start().unwrap();
    let client = Client::connect_to(&broker.address()).unwrap();
    assert_eq!(client.call(&Plain { of: 1 }).unwrap(), 2);
    assert_eq!(client.call(&DepotAdd { a: 1, b: 2 }).unwrap(), 3);
    let started: Vec<_> = (0..64).map(|a| client.start(DepotAdd { a, b: 1 }).unwrap()).collect();
    let sums: Vec<i64> = started.into_iter().map(|sum| sum.wait().unwrap()).collect();
    assert_eq!(sums, (1..65).collect::<Vec<_>>());
    assert_eq!(Remote::new(&client).named("depot").call(&DepotAdd { a: 1, b: 2 }).unwrap(), 3);
}

#[test]
fn a_nested_call_fails_as_the_method_that_made_it() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    assert_eq!(depot.ask("depot").unwrap(), 3);
    let failed = depot.ask("nothing").unwrap_err();
    assert_eq!((failed.code(), failed.is_retry_safe()), (ErrorCode::INTERNAL, false));
    let said = depot.relay("nothing").unwrap_err();
    assert!(matches!(&said, CallError::App(DepotError::Nested(text)) if text.contains("nothing")), "{said:?}");
    assert!(said.to_string().starts_with("asked "), "{said}");
}

#[test]
fn an_event_of_the_trait_is_published_on_its_topic() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    let mut sums = depot.remote().client().subscribe(DepotSummed::TOPIC).unwrap();
    depot.relay("depot").unwrap();
    let Some(Notice::Event(event)) = sums.next_within(SOON).unwrap() else { panic!("there is no event") };
    let told: DepotSummed = event.decode().unwrap();
    assert_eq!((event.topic.as_str(), told.sum, told.of.as_str()), ("depot.sum", 3, "depot"));
}

#[test]
fn attempts_repeat_what_was_not_run() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let depot = connect(&broker);
    let attempts = Attempts::within(SOON).pauses(Duration::from_millis(1), Duration::from_millis(4));
    assert_eq!(attempts.run(|left| depot.clone().within(left).busy(3)).unwrap(), 3);
    let said = attempts.run(|_| depot.add(i64::MAX, 1));
    assert!(matches!(said, Err(CallError::App(DepotError::TooLarge))));
}

#[test]
fn a_service_of_a_trait_says_what_it_is_for() {
    let broker = Broker::start();
    let _serving = serve(&broker);
    let description = Client::connect_to(&broker.address()).unwrap().describe(&"depot".parse().unwrap(), None).unwrap();
    assert_eq!(description.about, "A store of everything that a trait can say.");
    let method = |name: &str| &description.methods[&name.parse().unwrap()];
    assert_eq!(method("add").about, "The sum of two numbers.\n\nIt may be too large.");
    let request = method("add").request.as_ref().unwrap();
    assert_eq!(request.named_fields().iter().map(ToString::to_string).collect::<Vec<_>>(), ["a: i64", "b: i64"]);
    assert!(method("store").upload.is_some() && method("store").download.is_none());
    assert_eq!(method("find-all").download.as_ref().unwrap().shape, Shape::Str);
    let sum = &description.events["depot.sum"];
    assert_eq!((sum.about.as_str(), sum.event.as_ref().unwrap().named_fields().len()), ("A sum is there.", 2));
}

/// What a trait may have besides, and names that the macro uses itself.
#[ipc_client::service(name = "corner")]
trait Corner: Sync {
    /// A default method with a body of its own.
    #[name = ""]
    #[quick]
    fn main(&self, service: &str, r#type: u8, context: Option<&[u8]>) -> Result<String, Failed> {
        match context {
            Some(bytes) => Ok(format!("{service} {type} {bytes:?}")),
            None => Err(Failed::denied("bytes are wanted")),
        }
    }
    /// In a build that doesn't exist.
    #[cfg(any())]
    fn gone(&self) -> Nothing;
    /// In a build that doesn't exist.
    #[cfg(any())]
    #[event]
    fn lost(of: Nothing);
}

impl Corner for () {}

#[test]
fn a_default_method_has_a_body_and_names_may_be_any() {
    let broker = Broker::start();
    let _serving = ().into_service().address(&broker.address()).start().unwrap();
    let corner = CornerClient::new(&Client::connect_to(&broker.address()).unwrap());
    assert_eq!(corner.main("name", 7, Some(b"a")).unwrap(), "name 7 [97]");
    assert_eq!(corner.main("name", 7, None).unwrap_err().code(), ErrorCode::DENIED);
    let send = |body: &str| broker.ipcctl(["send", "corner", body]).run();
    assert_eq!(send(r#"{"service":"name","type":7,"context":[97]}"#).stdout(), "\"name 7 [97]\"\n");
    let denied = send(r#"{"service":"name","type":7}"#);
    assert!(denied.stderr.contains("bytes are wanted"), "{}", denied.stderr);
}
