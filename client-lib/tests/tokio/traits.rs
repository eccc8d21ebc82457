//! Services as traits, with async methods and without.

use ipc_client::{
    AsyncClient, AsyncContext, AsyncItems, AsyncSink, CallError, Client, ErrorCode, Failed, FixedTopic, Notice,
};

use crate::{Broker, on_each, two_threads, within};

/// Sums and texts.
#[ipc_client::service(name = "calc")]
trait Calc {
    /// The sum of two numbers.
    async fn add(&self, a: i64, b: i64) -> Result<i64, String>;
    /// The length of a text.
    async fn len(&self, text: &str, of: Option<&[u8]>) -> usize;
    /// Who asks.
    async fn who(&self, context: &AsyncContext) -> Result<u32, Failed>;
    /// No future is needed for this.
    fn one(&self) -> u8;
    /// Not even a task is needed for this.
    #[quick]
    fn twice(&self, context: &AsyncContext, text: &str) -> Result<String, Failed>;
    /// Wants no answer.
    #[one_way]
    async fn note(&self, text: String);
    /// The sums so far.
    async fn sums(&self, from: i64, items: AsyncItems<i64>, out: AsyncSink<i64>) -> Result<u32, Failed<String>>;
    /// A sum that was asked for.
    #[event]
    fn done(sum: i64);
}

struct Calculator;

impl Calc for Calculator {
    async fn add(&self, a: i64, b: i64) -> Result<i64, String> {
        tokio::task::yield_now().await;
        a.checked_add(b).ok_or("too large".to_owned())
    }

    async fn len(&self, text: &str, of: Option<&[u8]>) -> usize {
        tokio::task::yield_now().await;
        text.len() + of.map_or(0, <[u8]>::len)
    }

    async fn who(&self, context: &AsyncContext) -> Result<u32, Failed> {
        let calc = AsyncCalcClient::new(context.client());
        assert_eq!(calc.one().await?, 1);
        Ok(context.caller().identity.uid)
    }

    fn one(&self) -> u8 {
        1
    }

    fn twice(&self, context: &AsyncContext, text: &str) -> Result<String, Failed> {
        let uid = context.caller().identity.uid;
        if uid == 65_534 { Err(Failed::denied("not for strangers")) } else { Ok(text.repeat(2)) }
    }

    async fn note(&self, _: String) {}

    async fn sums(
        &self,
        from: i64,
        mut items: AsyncItems<i64>,
        mut out: AsyncSink<i64>,
    ) -> Result<u32, Failed<String>> {
        let (mut sum, mut count) = (from, 0);
        while let Some(item) = items.next().await {
            sum += item?;
            count += 1;
            out.send(&sum).await?;
        }
        Ok(count)
    }
}

#[test]
fn a_trait_with_async_methods_is_served_and_called_by_futures_and_threads() {
    let broker = Broker::start();
    on_each(|| async {
        let _serving = Calculator.into_service().address(&broker.address()).start().await.unwrap();
        let client = broker.client().await;
        let calc = AsyncCalcClient::new(&client);
        assert_eq!(calc.add(1, 2).await.unwrap(), 3);
        assert!(matches!(calc.add(i64::MAX, 1).await, Err(CallError::App(text)) if text == "too large"));
        assert_eq!(calc.len("abc", Some(b"de")).await.unwrap(), 5);
        assert_eq!(calc.who().await.unwrap(), rustix::process::geteuid().as_raw());
        assert_eq!(calc.twice("ab").await.unwrap(), "abab");
        calc.note("hello".into()).await.unwrap();
        let mut sums = calc.sums(10).await.unwrap();
        sums.send(&5).await.unwrap();
        assert_eq!(sums.next().await.unwrap().unwrap(), 15);
        assert_eq!(sums.end().await.unwrap(), 1);
        let second = calc.clone().named("calc.second");
        assert_eq!(second.add(1, 2).await.unwrap_err().code(), ErrorCode::NO_SERVICE);
        let about = client.describe(&"calc".parse().unwrap(), None).await.unwrap();
        assert!(about.methods.values().any(|method| method.about == "The sum of two numbers."), "{about:?}");
    });
    let runtime = two_threads();
    let _serving = runtime.block_on(within(Calculator.into_service().address(&broker.address()).start())).unwrap();
    let calc = CalcClient::new(&Client::connect_to(&broker.address()).unwrap());
    assert_eq!(calc.add(1, 2).unwrap(), 3);
}

#[test]
fn an_event_of_a_trait_is_published_and_subscribed_to() {
    let broker = Broker::start();
    on_each(|| async {
        let client: AsyncClient = broker.client().await;
        const DONE: FixedTopic<CalcDone> = CalcDone::TOPIC;
        let mut done = client.subscribe(DONE).await.unwrap();
        assert_eq!(CalcDone { sum: 3 }.publish_async(&client).await.unwrap(), 1);
        let Some(Ok(Notice::Event(event))) = done.next().await else { panic!("no event") };
        assert_eq!(event.decode::<CalcDone>().unwrap().sum, 3);
    });
}

/// A trait without async methods has a client of futures too.
#[ipc_client::service(name = "words")]
trait Words {
    fn upper(&self, text: &str) -> String;
    fn split(&self, text: &str) -> impl Iterator<Item = String>;
}

struct English;

impl Words for English {
    fn upper(&self, text: &str) -> String {
        text.to_uppercase()
    }

    fn split(&self, text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter()
    }
}

#[test]
fn a_trait_without_async_methods_is_called_by_futures() {
    let broker = Broker::start();
    let _serving = English.into_service().address(&broker.address()).start().unwrap();
    on_each(|| async {
        let words = AsyncWordsClient::new(&broker.client().await);
        assert_eq!(words.upper("a").await.unwrap(), "A");
        let mut parts = words.split("a b").await.unwrap();
        assert_eq!(parts.next().await.unwrap().unwrap(), "a");
        assert_eq!(parts.next().await.unwrap().unwrap(), "b");
        assert!(parts.next().await.is_none());
    });
}
