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

use ipc_protocol::{ServiceName, transport::Address};

use self::{
    answering::{Answer, answer_stream, answer_typed},
    life::Life,
};
pub use self::{context::AsyncContext, serving::AsyncServing};
use super::stream::{AsyncItems, AsyncSink};
use crate::{
    connect::Connect,
    contract::Contract,
    description::{Description, Said},
    error::{Error, Result},
    method::Method,
    service::{Built, Change, Failed, Methods, Observer, Offer, Place},
    session::outgoing::misnamed,
    stream_method::StreamMethod,
};

/// A service whose methods are futures: made here, then [`run`](AsyncService::run) or [`start`](AsyncService::start)ed on the runtime
/// tokio. What is said of a [`Service`](crate::Service) holds here as well, but for the threads.
///
/// # How many calls at once
/// Each call is a task of the runtime. The broker delivers no more calls than the [window](AsyncService::window) allows, 256 by default;
/// further ones wait at the broker, where they can go to another instance and end as `retry: safe` should this one die.
///
/// # When a caller stops waiting
/// Its call's future is dropped where it waits, and with it the calls that it has made. The same happens to all of them when the broker
/// dies.
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
    window: u32,
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
            window: WINDOW,
            shared: false,
            connect: Connect::default(),
            observer: None,
            description: Description::default(),
            mistake: None,
        }
    }

    /// Calls that run at once, at least 1: see "How many calls at once" above.
    pub fn window(mut self, window: u32) -> Self {
        self.window = window.max(1);
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
        self.add(
            M::METHOD,
            contract,
            Arc::new(move |call, context| answer_typed(call, built, context, answer.clone())),
        );
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
        self.add(
            M::METHOD,
            contract,
            Arc::new(move |call, context| answer_stream(call, built, context, answer.clone())),
        );
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
        // As many answers may be on their way while the broker fills their places again.
        let threads = usize::try_from(self.window).unwrap_or(usize::MAX);
        let (window, shared) = (Some(self.window), self.shared);
        Ok(Offer { name, methods, said, threads, window, shared, dial, observer })
    }

    fn add(&mut self, name: &str, contract: Contract, answer: Answer) {
        match self.methods.new_name(name) {
            Ok(name) => self.methods.add(name, Place::Pool, contract, answer),
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

/// Calls that run at once. Each costs a task of some hundred bytes, and what its future holds.
const WINDOW: u32 = 256;
