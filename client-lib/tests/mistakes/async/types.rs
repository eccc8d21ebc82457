use std::{cell::Cell, marker::PhantomData};

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Local(PhantomData<*const u8>);

struct Silent;

#[ipc_client::service(name = "calc")]
trait Calc {
    async fn takes(&self, of: Local);
    async fn gives(&self) -> Local;
    async fn says(&self) -> Result<u8, Silent>;
    async fn borrows(&self, of: &Cell<u8>);
}

struct Calculator;

impl Calc for Calculator {
    async fn takes(&self, _of: Local) {}
    async fn gives(&self) -> Local {
        Local(PhantomData)
    }
    async fn says(&self) -> Result<u8, Silent> {
        Err(Silent)
    }
    async fn borrows(&self, of: &Cell<u8>) {
        of.set(1);
    }
}

fn main() {}
