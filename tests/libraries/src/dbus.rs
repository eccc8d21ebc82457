//! zbus: a proxy and an object with one method.

use std::time::Duration;

use zbus::{Connection, connection};

use crate::{
    Result,
    ipc::runtime,
    library::say_ready,
    load::{Outcome, awaited},
};

struct Sums;

#[zbus::interface(name = "org.example.Calc")]
impl Sums {
    fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

#[zbus::proxy(interface = "org.example.Calc", default_service = "org.example.Calc", default_path = "/calc")]
trait Calc {
    fn add(&self, a: i64, b: i64) -> zbus::Result<i64>;
}

pub fn serve(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let builder = connection::Builder::address(address).name("org.example.Calc").serve_at("/calc", Sums);
        let _connection = builder.build().await?;
        say_ready();
        std::future::pending().await
    })
}

pub fn call(address: &str, time: Duration) -> Result<Outcome> {
    runtime()?.block_on(async {
        let connection: Connection = connection::Builder::address(address).build().await?;
        let calc = CalcProxy::new(&connection).await?;
        awaited(time, || async { Ok(calc.add(1, 41).await.map(drop)?) }).await
    })
}
