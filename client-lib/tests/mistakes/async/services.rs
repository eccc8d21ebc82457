use std::cell::Cell;

#[ipc_client::service(name = "calc")]
trait Calc {
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Counted(Cell<u32>);

impl Calc for Counted {
    async fn add(&self, a: i64, b: i64) -> i64 {
        self.0.set(self.0.get() + 1);
        a + b
    }
}

struct Named<'a>(&'a str);

impl Calc for Named<'_> {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b + self.0.len() as i64
    }
}

fn main() {
    drop(Counted(Cell::new(0)).into_service());
    let name = String::new();
    drop(Named(&name).into_service());
}
