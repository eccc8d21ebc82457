//! The macros, with what they are for: [`service`] and the derive of [`AppError`].

/// Makes a service of a trait: a typed client, and a service of any type that implements it.
///
/// ```
/// use ipc_client::{AppError, CallError, Client, Context};
/// use serde::{Deserialize, Serialize};
///
/// /// Sums and quotients.
/// #[ipc_client::service(name = "calc")]
/// pub trait Calc {
///     /// The sum of two numbers.
///     #[quick]
///     fn add(&self, a: i64, b: i64) -> Result<i64, CalcError>;
///     /// Who asks.
///     fn who(&self, context: &Context) -> u32;
/// }
///
/// /// Why there is no result.
/// #[derive(Debug, Serialize, Deserialize, AppError)]
/// pub enum CalcError {
///     #[code = 2]
///     #[text = "the sum of {a} and {b} is too large"]
///     TooLarge { a: i64, b: i64 },
/// }
///
/// struct Calculator;
///
/// impl Calc for Calculator {
///     fn add(&self, a: i64, b: i64) -> Result<i64, CalcError> {
///         a.checked_add(b).ok_or(CalcError::TooLarge { a, b })
///     }
///
///     fn who(&self, context: &Context) -> u32 {
///         context.caller().identity.uid
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let broker = ipc_client::testing::broker()?; // feature `testing`
///     let serving = Calculator.into_service().address(broker.address()).start()?;
///
///     let calc = CalcClient::new(&broker.client()?);
///     assert_eq!(calc.add(1, 2)?, 3);
///     let error = calc.add(i64::MAX, 1).unwrap_err();
///     assert!(matches!(error, CallError::App(CalcError::TooLarge { b: 1, .. })));
///     Ok(())
/// }
/// ```
///
/// # What is made
/// - `CalcClient`, with the methods of the trait: [`connect`](crate::Client::connect), `new(&client)`, `named("calc.second")` for a
///   service that has another name, `within(timeout)`, and `remote()`, the [`Remote`](crate::Remote) below.
/// - `into_service(self)` in the trait: a [`Service`](crate::Service), which can be [named](crate::Service::named), shared, polled, and
///   given further methods. Threads share the value, so that a method takes `&self`.
/// - `CalcAdd { a, b }` for each method: its request, a [`Method`](crate::Method) or a [`StreamMethod`](crate::StreamMethod), for
///   [`Client::start`](crate::Client::start) and the like.
///
/// Callers without the trait send JSON: `ipcctl send calc.add a:=1 b:=2`, as `{"a":1,"b":2}` or, in the order of the arguments, `[1,2]`.
/// An argument of type `Option` may be left out there.
///
/// # Methods
/// | in the trait | its caller has |
/// |--|--|
/// | `fn add(&self, …) -> Result<T, E>`, or `Result<T, Failed<E>>` to also say `busy` or `denied` | `Result<T, CallError<E>>` |
/// | `fn now(&self) -> T` | [`Result<T>`](crate::Result) |
/// | `#[one_way] fn log(&self, …)` | [`Result<()>`](crate::Result), when the broker has taken it |
/// | `fn find(&self, …) -> impl Iterator<Item = T>` | [`StreamCall`](crate::StreamCall), an iterator of items |
/// | the same with `Result<T, E>` for items, for the iterator, or for both | a `StreamCall` whose `end` has the error |
/// | `fn store(&self, …, parts: Items<T>) -> …` | `parts` is any iterator of `T`; what is returned is as above |
/// | `fn chat(&self, …, lines: Items<T>, out: Sink<U>) -> …` | `StreamCall`, to send, receive and end |
///
/// `#[quick]` answers on the thread that reads: see [`Service::quick`](crate::Service::quick). `#[name = "find-all"]` is the name on the
/// wire, by default that of the function; `""` is the default method. A first argument `context: &Context` is the
/// [`Context`](crate::Context) of the call, and not sent.
///
/// # Arguments
/// They are sent, so their types have `Serialize` and `Deserialize`; what is said of a [`Method`](crate::Method) holds for them. `&str`,
/// `&[T]`, `&T` and `Option`s of these are borrowed on both sides: nothing is copied to call. `&[u8]` travels as bytes.
///
/// # Events
/// `#[event(topic = "calc.done")] fn done(result: i64);`, without `self`, is a type `CalcDone { result }` with `publish(&client)` and a
/// [`TOPIC`](crate::FixedTopic) to subscribe to; the topic is by default the name of the service with that of the function. The trait
/// doesn't have it.
///
/// # Async
/// With the feature `tokio` there is an `AsyncCalcClient` too, whose methods are futures; what has streams returns an `AsyncStreamCall`. Events
/// have a `publish_async(&client)`.
///
/// A trait with `async fn` methods is answered by an `AsyncService`: its context is an `&AsyncContext`, its streams are arguments of the types
/// `AsyncItems<T>` and `AsyncSink<T>`, for there is no async iterator yet. Its futures may go on in another thread: what they hold while they
/// wait is `Send`. Its methods that aren't async must not block; `#[quick]` answers them without a task.
///
/// # Limits
/// The error of a fallible method is written out, `Result<T, E>`: a macro doesn't see through aliases. Methods have no type parameters.
pub use ipc_client_macros::service;

/// Gives the errors of a service codes, and if wanted texts.
///
/// ```
/// use ipc_client::{AppError, Client, Failed};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize, AppError)]
/// enum StoreError {
///     #[code = 2]
///     #[text = "there is no key {0:?}"]
///     NoKey(String),
///     #[code = 3]
///     #[text = "the value has more than {limit} bytes"]
///     TooLong { limit: usize },
///     #[code = 4]
///     #[text = "the disk says: {0}"]
///     #[nested]
///     Disk(String),
/// }
/// assert_eq!(StoreError::TooLong { limit: 9 }.to_string(), "the value has more than 9 bytes");
/// assert_eq!(StoreError::NoKey("color".into()).code(), 2);
/// ```
///
/// Each variant, or the struct, has a `#[code = 2]` from 1 to 63 that never changes. A caller in Rust has the value, one in another
/// language its JSON as serde writes it, a shell the code with `ipcctl send --propagate`.
///
/// With `#[text = "…"]`, a format string with the fields by name or number, on all variants there is `Display` and
/// [`std::error::Error`]. Without any, that is left to you: write it, or derive `thiserror::Error`.
///
/// `#[nested]` marks a variant with a `String`. `?` makes it of what a call of another service ended with, with the whole sentence. A
/// method that returns `Result<T, Failed<E>>` needs none: `?` then answers with `internal`, `deadline` or `cancelled`.
pub use ipc_client_macros::AppError;
