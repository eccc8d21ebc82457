#[ipc_client::service(name = "calc")]
trait Calc {
    fn add(&self);
    #[name = "add"]
    fn plus(&self);
    #[name = "Add.Two"]
    fn two(&self);
    #[name(text)]
    fn three(&self);
    fn Four(&self);
    #[event(topic = "sum.")]
    fn summed();
    #[event]
    fn subtracted() -> u8;
}

#[ipc_client::service(name = "Calc")]
trait Misnamed {}

#[ipc_client::service]
trait Unnamed {}

#[ipc_client::service(name = "calc", version = 2)]
trait Versioned {}

#[ipc_client::service(name = "calc")]
trait Generic<T> {}

fn main() {}
