use ipc_client::{AsyncContext, AsyncItems, AsyncSink, Context, Items, Sink};

#[ipc_client::service(name = "calc")]
trait Calc {
    async fn of_a_type<T>(&self, of: T);
    async fn changes(&mut self);
    async fn without_self(a: u8);
    #[quick]
    async fn quick(&self);
    #[one_way]
    async fn tells(&self) -> u8;
    async fn gives(&self) -> impl Iterator<Item = u8>;
    fn gives_at_once(&self) -> impl Iterator<Item = u8>;
    async fn takes(&self, items: Items<u8>);
    async fn sends(&self, out: Sink<u8>);
    async fn of_threads(&self, context: &Context);
    #[quick]
    fn of_threads_at_once(&self, context: &Context);
    async fn context_last(&self, a: u8, context: &AsyncContext);
    async fn takes_twice(&self, one: AsyncItems<u8>, other: AsyncItems<u8>);
    async fn gives_twice(&self, one: AsyncSink<u8>, other: AsyncSink<u8>);
    #[quick]
    fn streams(&self, out: AsyncSink<u8>);
    async fn of_any_type(&self, items: impl Iterator<Item = u8>);
    async fn borrowed_deeply(&self, texts: Vec<&str>);
    async fn borrowed_for_long(&self, text: &'static str);
}

#[ipc_client::service(name = "words")]
trait Words {
    fn takes(&self, items: AsyncItems<u8>);
    fn sends(&self, out: AsyncSink<u8>);
    fn context(&self, context: &AsyncContext);
}

fn main() {}
