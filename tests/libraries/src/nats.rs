//! async-nats: requests to a subject. The arguments go as their bytes, so that no codec counts against it.

use std::time::Duration;

use futures_util::StreamExt;

use crate::{
    Result,
    ipc::runtime,
    library::say_ready,
    load::{Outcome, awaited},
};

pub fn serve(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let client = connect(address).await?;
        let mut requests = client.subscribe("calc.add").await?;
        client.flush().await?;
        say_ready();
        while let Some(request) = requests.next().await {
            let (Some(reply), Some((a, b))) = (request.reply, request.payload.split_at_checked(8)) else { continue };
            let sum = i64::from_le_bytes(a.try_into()?).wrapping_add(i64::from_le_bytes(b.try_into()?));
            client.publish(reply, sum.to_le_bytes().to_vec().into()).await?;
        }
        Ok(())
    })
}

pub fn call(address: &str, time: Duration) -> Result<Outcome> {
    runtime()?.block_on(async {
        let client = connect(address).await?;
        let call = || async {
            let arguments = [1_i64.to_le_bytes(), 41_i64.to_le_bytes()].concat();
            let reply = client.request("calc.add", arguments.into()).await?;
            let _sum = i64::from_le_bytes(reply.payload.as_ref().try_into()?);
            Ok(())
        };
        awaited(time, call).await
    })
}

async fn connect(address: &str) -> Result<async_nats::Client> {
    Ok(async_nats::ConnectOptions::new().retry_on_initial_connect().connect(address).await?)
}
