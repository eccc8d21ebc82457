#[ipc_client::service(name = "calc")]
struct Calc;

fn main() {}
