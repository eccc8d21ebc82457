use std::{rc::Rc, sync::Mutex};

use ipc_client::AsyncContext;

#[ipc_client::service(name = "calc")]
trait Calc {
    async fn holds(&self) -> u32;
    async fn locks(&self, context: &AsyncContext) -> u32;
}

struct Calculator(Mutex<u32>);

impl Calc for Calculator {
    async fn holds(&self) -> u32 {
        let shared = Rc::new(1);
        tokio::task::yield_now().await;
        *shared
    }

    async fn locks(&self, context: &AsyncContext) -> u32 {
        let mut last = self.0.lock().unwrap();
        *last += u32::from(context.client().ping().await.is_ok());
        *last
    }
}

fn main() {}
