//! The answering side for futures: a name, its methods, and the task that serves.

mod answering;
mod context;
mod life;
mod running;
mod serving;

use std::{
    fmt,
    future::Future,
    sync::{Arc, RwLock},
};

use ipc_protocol::{Call, ServiceName, transport::Address};

use self::{
    answering::{Answer, answer_any, answer_any_stream, answer_stream, answer_typed},
    life::Life,
};
pub use self::{context::AsyncContext, serving::AsyncServing};
use super::stream::{AsyncItems, AsyncItemsBytes, AsyncSink, AsyncSinkBytes};
use crate::{
    connect::Connect,
    contract::Contract,
    description::{Description, Said},
    error::{Error, Result},
    link::channel::Channel,
    method::Method,
    request::Response,
    service::{
        Built, Change, Failed, Incoming, Methods, Observer, Offer, Place, QUICK_WINDOW, answer_typed as answer_here,
    },
    session::{Frames, outgoing::misnamed},
    stream_method::StreamMethod,
};

/// A service whose methods are futures: made here, then [`run`](AsyncService::run) or [`start`](AsyncService::start)ed on the runtime
/// tokio. What is said of a [`Service`](crate::Service) holds here as well, but for the threads.
///
/// # How many calls at once
/// Each call is a task of the runtime, but those of [quick](AsyncService::quick) methods. The broker delivers no more calls than the
/// [window](AsyncService::window) allows, 256 by default and 1,024 when all methods are quick; further ones wait at the broker, where they
/// can go to another instance and end as `retry: safe` should this one die.
///
/// # When a caller stops waiting
/// Its call's future is dropped where it waits, and with it the calls that it has made. The same happens to all of them when the broker
/// dies.
///
/// # What it does not have
/// Threads and the size of their pool are the runtime's. There is no [`Stopper`](crate::Stopper), and no [`poll`](crate::Service::poll):
/// [`AsyncServing::stop`] is called from any task, and dropping the future of [`run`](AsyncService::run), as `select!` does, stops as well.
///
/// ```
/// use ipc_client::{AsyncClient, AsyncService, Failed, Method};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u32);
/// # impl Method for Double {
/// #     const SERVICE: &'static str = "double";
/// #     const METHOD: &'static str = "";
/// #     type Reply = u32;
/// #     type Error = std::convert::Infallible;
/// # }
///
/// # let directory = tempfile::tempdir()?;
/// # let address = ipc_client::Address::Path(directory.path().join("ipcd.sock"));
/// # let (_stop, stopped) = std::os::unix::net::UnixStream::pair()?;
/// # let broker = ipcd::Server::bind(ipcd::Config::new(address.clone()))?;
/// # std::thread::spawn(move || broker.run(stopped.into()));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = AsyncService::new("double").address(&address).window(8).method(|of: Double, context| async move {
///     tokio::time::timeout(context.time_left(), async { of.0.checked_mul(2) })
///         .await
///         .map_err(|_| Failed::busy("it takes too long"))?
///         .ok_or_else(|| Failed::invalid("the number is too large"))
/// });
/// let serving = service.start().await?;
/// assert_eq!(AsyncClient::connect_to(&address).await?.call(&Double(4)).await?, 8);
/// serving.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a service does nothing until it is started"]
pub struct AsyncService {
    name: Option<ServiceName>,
    methods: Methods<Answer>,
    window: Option<u32>,
    shared: bool,
    connect: Connect,
    observer: Option<Observer>,
    /// What the service says of itself, besides its methods.
    description: Description,
    /// The first mistake in what was asked for; `start` reports it.
    mistake: Option<Error>,
}

impl AsyncService {
    /// A service under a name, such as `org.example.clock`. A bad name is an error of [`AsyncService::start`].
    pub fn new(name: &str) -> Self {
        Self::anonymous().named(name)
    }

    /// Another name, for one of several services whose methods are the same. A bad name is an error of [`AsyncService::start`].
    pub fn named(mut self, name: &str) -> Self {
        match ServiceName::parse(name) {
            Ok(name) => self.name = Some(name),
            Err(error) => self.mistaken(misnamed("service", name, &error)),
        }
        self
    }

    /// A service without a name: callable by its number alone, as `@17`.
    pub fn anonymous() -> Self {
        Self {
            name: None,
            methods: Methods::default(),
            window: None,
            shared: false,
            connect: Connect::default(),
            observer: None,
            description: Description::default(),
            mistake: None,
        }
    }

    /// Calls that run at once, at least 1: see "How many calls at once" above.
    pub fn window(mut self, window: u32) -> Self {
        self.window = Some(window.max(1));
        self
    }

    /// Lets other instances offer the same name, if all of them do so; each call goes to the one with the fewest under way.
    pub fn shared(mut self) -> Self {
        self.shared = true;
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

    /// What the service says of itself: see [`Service::described`](crate::Service::described).
    pub fn described(mut self, description: Description) -> Self {
        self.description = description;
        self
    }

    /// Connects to this address, instead of the one that the environment gives.
    pub fn address(mut self, address: &Address) -> Self {
        self.connect = self.connect.address(address);
        self
    }

    /// Tells what happens to the registration later. Runs on the task that serves: it must not block.
    pub fn on_change(mut self, observer: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Answers a method. The future may wait, and make calls of its own with [`AsyncContext::client`]; it must not block. It is dropped when
    /// the caller stops waiting.
    pub fn method<M, F>(mut self, answer: impl Fn(M, AsyncContext) -> F + Send + Sync + 'static) -> Self
    where
        M: Method + Send + 'static,
        M::Reply: Send,
        M::Error: Send,
        F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
    {
        let contract = Contract::of::<M>();
        let built = Built(contract.fingerprint);
        let answer = Arc::new(answer);
        let answer = Answer::Task(Box::new(move |call, context| answer_typed(call, built, context, answer.clone())));
        self.add(M::METHOD, contract, answer);
        self
    }

    /// Answers a method at once, on the task that serves, where a task of its own would cost more than the method: it must not block,
    /// for everything else waits meanwhile. The replies to all quick calls of one read leave with one write.
    pub fn quick<M: Method>(
        mut self,
        answer: impl Fn(M, &AsyncContext) -> Result<M::Reply, Failed<M::Error>> + Send + Sync + 'static,
    ) -> Self {
        let contract = Contract::of::<M>();
        let built = Built(contract.fingerprint);
        let answer = move |call: &Call, context: &AsyncContext, answers: &mut Frames| {
            answer_here::<M>(call, built, answers, |request| answer(request, context));
        };
        self.add(M::METHOD, contract, Answer::Here(Box::new(answer)));
        self
    }

    /// Answers every method that is not named otherwise, with bodies as they are.
    pub fn any<F>(mut self, answer: impl Fn(Incoming, AsyncContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response, Failed>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        let answer = Answer::Task(Box::new(move |call, context| answer_any(call, context, answer.clone())));
        self.methods.set_any(false, answer);
        self
    }

    /// Answers a method with streams: see [`Service::stream`](crate::Service::stream).
    pub fn stream<M, F>(
        mut self,
        answer: impl Fn(M, AsyncItems<M::In>, AsyncSink<M::Out>, AsyncContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        M: StreamMethod + Send + 'static,
        M::Reply: Send,
        M::Error: Send,
        F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
    {
        let contract = Contract::of_stream::<M>();
        let built = Built(contract.fingerprint);
        let answer = Arc::new(answer);
        let answer = Answer::Task(Box::new(move |call, context| answer_stream(call, built, context, answer.clone())));
        self.add(M::METHOD, contract, answer);
        self
    }

    /// Answers every call with streams whose method is not named otherwise, with bodies as they are.
    pub fn any_stream<F>(
        mut self,
        answer: impl Fn(Incoming, AsyncItemsBytes, AsyncSinkBytes, AsyncContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response, Failed>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        let answer = Answer::Task(Box::new(move |call, context| answer_any_stream(call, context, answer.clone())));
        self.methods.set_any(true, answer);
        self
    }

    /// Serves the other ends of this, and no broker.
    pub(in crate::aio) fn within(mut self, channel: &Arc<Channel>) -> Self {
        self.connect = self.connect.within(channel);
        self
    }

    /// Connects, registers, and answers calls on tasks of the runtime. Callable when this ends.
    ///
    /// # Errors
    /// As [`Service::start`](crate::Service::start); `usage` outside of a runtime.
    pub async fn start(self) -> Result<AsyncServing> {
        Ok(AsyncServing::start(Life::begin(self.offer()?).await?))
    }

    /// Connects, registers, and answers calls until the future is dropped.
    ///
    /// # Errors
    /// As [`AsyncService::start`], also later, when the service has to register again.
    pub async fn run(self) -> Result<()> {
        self.start().await?.wait().await
    }

    fn offer(self) -> Result<Offer<Answer>> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let (name, methods, observer, dial) = (self.name, self.methods, self.observer, self.connect.dial()?);
        let said = RwLock::new(Arc::new(Said::of(self.description, methods.described())));
        let window = self.window.unwrap_or(if methods.need_pool() { WINDOW } else { QUICK_WINDOW });
        // As many answers may be on their way while the broker fills their places again.
        let threads = usize::try_from(window).unwrap_or(usize::MAX);
        let (window, shared) = (Some(window), self.shared);
        Ok(Offer { name, methods, said, threads, window, shared, dial, observer })
    }

    fn add(&mut self, name: &str, contract: Contract, answer: Answer) {
        match self.methods.new_name(name) {
            Ok(name) => self.methods.add(name, place_of(&answer), contract, answer),
            Err(mistake) => self.mistaken(mistake),
        }
    }

    fn mistaken(&mut self, mistake: Error) {
        self.mistake.get_or_insert(mistake);
    }
}

impl fmt::Debug for AsyncService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncService")
            .field("name", &self.name)
            .field("methods", &self.methods.names())
            .finish_non_exhaustive()
    }
}

fn place_of(answer: &Answer) -> Place {
    match answer {
        Answer::Here(_) => Place::Here,
        Answer::Task(_) => Place::Pool,
    }
}

/// Calls that run at once. Each costs a task of some hundred bytes, and what its future holds.
const WINDOW: u32 = 256;
