//! A service with an async method that calls other services: `first.ask` sends a text to several at once and replies with the first answer.
//! The other calls are cancelled, and all of them when the caller stops waiting.
//!
//! ```text
//! ipcctl run -- sh -c 'async_first & ipcctl serve --wait up -- tr a-z A-Z & ipcctl send --wait=5s first.ask services:=[\"up\"] text=hello'
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ipc_client::{AsyncContext, Failed, Request, Response};
use tokio::task::JoinSet;

/// Asks several, and takes what comes first.
#[ipc_client::service(name = "first")]
trait First {
    /// The first answer to a text.
    async fn ask(&self, context: &AsyncContext, services: Vec<String>, text: String) -> Result<String, Failed>;
}

struct Race;

impl First for Race {
    async fn ask(&self, context: &AsyncContext, services: Vec<String>, text: String) -> Result<String, Failed> {
        let mut calls = JoinSet::new(); // dropping it drops the futures of the calls, which cancels them
        for service in services {
            let target = service.parse().map_err(|error| Failed::invalid(format!("{service}: {error}")))?;
            let (client, request) = (context.client().clone(), Request::new(target, text.clone()));
            calls.spawn(async move { client.call_bytes(request).await });
        }
        let mut last = Failed::invalid("there is no service to ask");
        while let Some(Ok(answer)) = calls.join_next().await {
            match answer {
                Ok(Response { body, .. }) => return Ok(String::from_utf8_lossy(&body).into_owned()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Race.into_service().window(32).run())?)
}
