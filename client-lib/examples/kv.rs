//! A key-value store, both sides: `kv serve &`, then `kv put color blue`, `kv get color`, `kv list`. From a shell,
//! `ipcctl send --propagate kv.get key=color` exits with the error's own code, here 2.
#![forbid(unsafe_code)]

use std::{borrow::Cow, collections::BTreeMap, convert::Infallible, error::Error, sync::Mutex};

use ipc_client::{AppError, Client, Method, Service};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Put<'a> {
    key: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl Method for Put<'_> {
    const SERVICE: &'static str = "kv";
    const METHOD: &'static str = "put";
    type Reply = Option<String>; // the value before
    type Error = Infallible;
}

#[derive(Serialize, Deserialize)]
struct Get<'a> {
    key: Cow<'a, str>,
}

impl Method for Get<'_> {
    const SERVICE: &'static str = "kv";
    const METHOD: &'static str = "get";
    type Reply = String;
    type Error = NoKey;
}

#[derive(Serialize, Deserialize)]
struct List {}

impl Method for List {
    const SERVICE: &'static str = "kv";
    const METHOD: &'static str = "list";
    type Reply = Vec<String>;
    type Error = Infallible;
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("there is no key {0:?}")]
struct NoKey(String);

impl AppError for NoKey {
    fn code(&self) -> u8 {
        2
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve()?,
        ["put", key, value] => drop(Client::connect()?.call(&Put { key: (*key).into(), value: (*value).into() })?),
        ["get", key] => println!("{}", Client::connect()?.call(&Get { key: (*key).into() })?),
        ["list"] => Client::connect()?.call(&List {})?.iter().for_each(|key| println!("{key}")),
        _ => return Err("kv serve | put KEY VALUE | get KEY | list".into()),
    }
    Ok(())
}

fn serve() -> ipc_client::Result<()> {
    let store: &Mutex<BTreeMap<String, String>> = Box::leak(Box::default());
    let store = || store.lock().expect("no method panics while it holds the store");
    Service::new("kv")
        .quick(move |put: Put, _| Ok(store().insert(put.key.into(), put.value.into())))
        .quick(move |get: Get, _| Ok(store().get(&*get.key).cloned().ok_or(NoKey(get.key.into()))?))
        .quick(move |_: List, _| Ok(store().keys().cloned().collect()))
        .run()
}
