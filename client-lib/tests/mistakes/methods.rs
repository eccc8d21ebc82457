use ipc_client::{Context, Items, Sink};

#[ipc_client::service(name = "calc")]
trait Calc {
    fn of_a_type<T>(&self, of: T);
    fn of_a_lifetime<'a>(&self, of: u8);
    fn changes(&mut self);
    fn consumes(self);
    fn without_self(a: u8);
    fn connect(&self);
    fn which_error(&self) -> std::io::Result<u8>;
    fn opaque(&self) -> impl Send;
    #[one_way]
    fn tells(&self) -> u8;
    #[quick]
    fn streams(&self) -> impl Iterator<Item = u8>;
    fn gives_twice(&self, out: Sink<u8>) -> impl Iterator<Item = u8>;
    fn takes_twice(&self, one: Items<u8>, other: Items<u8>);
    fn context_last(&self, a: u8, context: &Context);
    #[quick(now)]
    fn marked(&self);
    const NUMBER: u8;
}

fn main() {}
