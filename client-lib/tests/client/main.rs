//! The client against a broker that follows a script.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod corks;
mod encodings;
mod threads;
mod times;
mod typed_calls;
mod untyped_calls;

use ipc_client::{CallError, Request, Target};

fn request() -> Request {
    Request::new(Target::parse("calc.add").unwrap(), "1 2")
}

fn failed<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> ipc_client::Error {
    match result {
        Err(CallError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}
