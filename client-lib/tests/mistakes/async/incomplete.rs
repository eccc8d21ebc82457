#[ipc_client::service(name = "calc")]
trait Calc {
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn negate(&self, a: i64) -> i64;
}

struct Calculator;

impl Calc for Calculator {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

fn main() {
    drop(Calculator.into_service());
}
