//! The answering side: a name, its methods, and the thread that reads for them.

mod call;
mod change;
mod failed;
mod life;
mod methods;
mod offer;
mod polled;
mod serving;
mod stopper;
mod streamed;
mod turns;
mod unanswered;
mod workers;

use std::sync::{Arc, RwLock};

use ipc_protocol::{Call, MethodName, ServiceName, transport::Address};

#[cfg(feature = "tokio")]
pub(crate) use self::{
    call::Stamp,
    life::{DRAIN, STOPPED, UNREGISTER_TIMEOUT, is_passing},
    methods::{guarded, incoming, panicked, push_end, push_response, read_request, target},
    streamed::unfit,
    turns::{ANSWERS, detached, no_method, not_its_kind, service_of},
};
pub use self::{
    call::{Caller, Context, Incoming},
    change::Change,
    failed::Failed,
    polled::Polled,
    serving::Serving,
    stopper::Stopper,
};
pub(crate) use self::{
    change::Observer,
    methods::{Built, Methods, Place, answer_typed},
    offer::Offer,
};
use self::{
    life::Life,
    methods::answer_any,
    streamed::{answer_any_stream, answer_stream},
};
use crate::{
    connect::Connect,
    contract::Contract,
    description::{Description, Said},
    error::{Error, Result},
    link::channel::Channel,
    method::Method,
    request::Response,
    session::{Frames, outgoing::misnamed},
    stream::{Items, ItemsBytes, Sink, SinkBytes},
    stream_method::StreamMethod,
};

/// A service: made here, then [`run`](Service::run) or [`start`](Service::start)ed.
///
/// One method answers callers of every kind: bincode from Rust programs, JSON, and plain bytes, which are read as JSON and answered
/// in JSON. A body that is not the request is answered with `invalid`, and the text names the field. A panic in a method is
/// `internal` for its caller and nothing else.
///
/// # Threads and order
/// One thread reads the connection. It runs [`quick`](Service::quick) methods itself and gives the calls of the others to a pool.
/// Calls of one caller are begun in the order in which they were sent; methods on the pool run side by side, so they may end, and
/// with more than one thread act, in another order. `threads(1)` makes it strict.
///
/// # How many calls at once
/// The broker delivers no more calls than the window allows; further ones wait at the broker, where they can go to another instance
/// and end as `retry: safe` should this one die. By default the window is the number of threads, or 1,024 when all methods are
/// quick. A window above the number of threads keeps the pipe full for short methods on the pool, but the calls that are delivered
/// and not begun wait here and are lost with this process. Quick calls count as well: a service that mixes both kinds and gets
/// many quick calls wants a larger [`window`](Service::window).
///
/// # When the broker dies
/// The calls that run are cancelled with `broker_lost`. The service connects again, after 50 ms to 2 s, and registers before
/// anything else leaves. `name_taken` is taken for an answer after 5 s, any other refusal at once.
///
/// ```
/// use ipc_client::{Client, Failed, Method, Service, Stopper};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
/// impl Method for Add {
///     const SERVICE: &'static str = "calc";
///     const METHOD: &'static str = "add";
///     type Reply = i64;
///     type Error = String;
/// }
///
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address().clone();
/// let stopper = Stopper::new()?; // stops a service that runs on the only thread: from a signal handler's thread, for example
/// let service = Service::new(Add::SERVICE)
///     .address(&address)
///     .stopped_by(&stopper)
///     .quick(|add: Add, context| match context.caller().identity.uid {
///         65_534 => Err(Failed::denied("not for strangers")),
///         _ => Ok(add.a.checked_add(add.b).ok_or_else(|| "the sum is too large".to_owned())?),
///     });
/// # std::thread::spawn(move || {
/// #     while Client::connect_to(&address).unwrap().call(&Add { a: 1, b: 2 }).is_err() {}
/// #     stopper.stop();
/// # });
/// service.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a service does nothing until it is started"]
pub struct Service {
    name: Option<ServiceName>,
    methods: Methods,
    threads: usize,
    window: Option<u32>,
    sharing: Sharing,
    connect: Connect,
    stopper: Option<Stopper>,
    observer: Option<Observer>,
    /// What the service says of itself, besides its methods.
    description: Description,
    /// The first mistake in what was asked for; `start` reports it.
    mistake: Option<Error>,
}

/// Whether other instances may offer the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Shared,
}

impl Service {
    /// A service under a name, such as `org.example.clock`. A bad name is an error of [`Service::start`].
    pub fn new(name: &str) -> Self {
        Self::anonymous().named(name)
    }

    /// Another name, for one of several services whose methods are the same. A bad name is an error of [`Service::start`].
    pub fn named(mut self, name: &str) -> Self {
        match ServiceName::parse(name) {
            Ok(name) => self.name = Some(name),
            Err(error) => {
                self.mistake.get_or_insert(misnamed("service", name, &error));
            }
        }
        self
    }

    /// A service without a name: callable by its number alone, as `@17`.
    pub fn anonymous() -> Self {
        Self {
            name: None,
            methods: Methods::default(),
            threads: THREADS,
            window: None,
            sharing: Sharing::Exclusive,
            connect: Connect::default(),
            stopper: None,
            observer: None,
            description: Description::default(),
            mistake: None,
        }
    }

    /// Threads for the methods that are not quick; 4 by default, at least 1. None is started if all methods are quick. Where the
    /// system has fewer, the service does with those: see [`Serving::threads`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Calls taken at once, at least 1: see "How many calls at once" above.
    pub fn window(mut self, window: u32) -> Self {
        self.window = Some(window.max(1));
        self
    }

    /// Lets other instances offer the same name, if all of them do so; each call goes to the one with the fewest under way.
    pub fn shared(mut self) -> Self {
        self.sharing = Sharing::Shared;
        self
    }

    /// What the list of peers shows for this service, up to 255 bytes; the program's name by default.
    pub fn agent(mut self, agent: &str) -> Self {
        self.connect = self.connect.agent(agent);
        self
    }

    /// What the service is for, as `ipcctl show` prints it.
    pub fn about(mut self, about: &str) -> Self {
        about.clone_into(&mut self.description.about);
        self
    }

    /// What the service says of itself: texts, and types of methods that are answered by [`Service::any`]. Types of typed methods are
    /// traced; what is said of them here besides is kept.
    pub fn described(mut self, description: Description) -> Self {
        self.description = description;
        self
    }

    /// Connects to this address, instead of the one that the environment gives.
    pub fn address(mut self, address: &Address) -> Self {
        self.connect = self.connect.address(address);
        self
    }

    /// Serves the other ends of this, and no broker.
    pub(crate) fn within(mut self, channel: &Arc<Channel>) -> Self {
        self.connect = self.connect.within(channel);
        self
    }

    /// Lets this stop the service, also one that [`run`](Service::run)s.
    pub fn stopped_by(mut self, stopper: &Stopper) -> Self {
        self.stopper = Some(stopper.clone());
        self
    }

    /// Answers a method on the pool. It may block and make calls of its own with [`Context::client`]. It should end soon after
    /// [`Context::cancel`] says that the caller has stopped waiting.
    pub fn method<M: Method>(
        self,
        answer: impl Fn(M, &Context) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        self.typed(Place::Pool, answer)
    }

    /// Answers a method on the thread that reads: it must not block, for everything else waits meanwhile, and it cannot call. The
    /// replies to all quick calls of one read leave with one write.
    pub fn quick<M: Method>(
        self,
        answer: impl Fn(M, &Context) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        self.typed(Place::Here, answer)
    }

    /// Answers every method that is not named otherwise, with bodies as they are, on the pool.
    pub fn any(
        mut self,
        answer: impl Fn(&Incoming, &Context) -> Result<Response, Failed> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |call: &Call, context: &Context, answers: &mut Frames| {
            answer_any(call, answers, |incoming| answer(incoming, context));
        };
        self.methods.set_any(false, Arc::new(answer));
        self
    }

    /// Answers a method with streams, on the pool: a thread is taken as long as the call lasts. `items` are those of the caller; what is
    /// sent to the sink, the caller receives before the reply. Both wait for the caller, and end with an error when it cancels or dies,
    /// which `?` passes on. See [`Client::stream`](crate::Client::stream).
    pub fn stream<M: StreamMethod>(
        mut self,
        answer: impl Fn(M, Items<M::In>, Sink<M::Out>, &Context) -> Result<M::Reply, Failed<M::Error>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        if let Some(name) = self.method_name(M::METHOD) {
            let contract = Contract::of_stream::<M>();
            let built = Built(contract.fingerprint);
            let answer = move |call: &Call, context: &Context, answers: &mut Frames| {
                answer_stream::<M>(&context.connection, call, built, answers, |request, items, sink| {
                    answer(request, items, sink, context)
                });
            };
            self.methods.add(name, Place::Pool, contract, Arc::new(answer));
        }
        self
    }

    /// Answers every call with streams whose method is not named otherwise, with bodies as they are, on the pool.
    pub fn any_stream(
        mut self,
        answer: impl Fn(&Incoming, ItemsBytes, SinkBytes, &Context) -> Result<Response, Failed> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |call: &Call, context: &Context, answers: &mut Frames| {
            answer_any_stream(&context.connection, call, answers, |incoming, items, sink| {
                answer(incoming, items, sink, context)
            });
        };
        self.methods.set_any(true, Arc::new(answer));
        self
    }

    /// Tells what happens to the registration later: the broker goes away, another process has the name meanwhile, the service is
    /// back. Runs on the thread that reads, which must not wait for a call.
    pub fn on_change(mut self, observer: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Connects, registers, and answers calls on threads of its own. Callable when this returns.
    ///
    /// # Errors
    /// `usage` for a bad name or a method given twice, `unavailable` or `denied` if there is no connection, `name_taken` with the
    /// holder in its text, `internal` if a thread cannot be started.
    pub fn start(self) -> Result<Serving> {
        let (offer, stopper) = self.offer()?;
        Serving::start(offer, stopper)
    }

    /// Connects, registers, and answers calls on this thread, and on the pool, until it is [stopped](Service::stopped_by).
    ///
    /// # Errors
    /// As [`Service::start`], also later, when the service has to register again.
    pub fn run(self) -> Result<()> {
        self.begin()?.run()
    }

    /// Connects and registers, and leaves it to the program's own loop to take the turns.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub fn poll(self) -> Result<Polled> {
        Polled::new(self.begin()?)
    }

    fn begin(self) -> Result<Life> {
        let (offer, stopper) = self.offer()?;
        Life::begin(offer, stopper)
    }

    fn offer(self) -> Result<(Offer, Option<Stopper>)> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let threads = if self.methods.need_pool() { self.threads } else { 0 };
        let window = self.window.or((threads == 0).then_some(QUICK_WINDOW));
        let shared = self.sharing == Sharing::Shared;
        let (name, methods, observer, dial) = (self.name, self.methods, self.observer, self.connect.dial()?);
        let said = RwLock::new(Arc::new(Said::of(self.description, methods.described())));
        Ok((Offer { name, methods, said, threads, window, shared, dial, observer }, self.stopper))
    }

    fn typed<M: Method>(
        mut self,
        place: Place,
        answer: impl Fn(M, &Context) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        if let Some(name) = self.method_name(M::METHOD) {
            let contract = Contract::of::<M>();
            let built = Built(contract.fingerprint);
            let answer = move |call: &Call, context: &Context, answers: &mut Frames| {
                answer_typed::<M>(call, built, answers, |request| answer(request, context));
            };
            self.methods.add(name, place, contract, Arc::new(answer));
        }
        self
    }

    fn method_name(&mut self, name: &str) -> Option<MethodName> {
        match self.methods.new_name(name) {
            Ok(name) => Some(name),
            Err(mistake) => {
                self.mistake.get_or_insert(mistake);
                None
            }
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("methods", &self.methods.names())
            .finish_non_exhaustive()
    }
}

/// Threads of the pool.
const THREADS: usize = 4;
/// Calls taken at once when all methods are quick: they end in the turn that brings them, so this bounds what one caller's pipe
/// holds. As many as the broker lets one caller have under way.
pub(crate) const QUICK_WINDOW: u32 = 1_024;
