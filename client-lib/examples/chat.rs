//! Two people talk over one call, whose request and reply are streams of lines: `chat wait` at one terminal, `chat call` at another.
//! Either ends it with Ctrl-D. Who calls while two talk is told `busy`.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    io,
    process::ExitCode,
    sync::{Mutex, mpsc},
    thread,
};

use ipc_client::{Client, Failed, Items, Service, Sink, StreamMethod};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Talk;

impl StreamMethod for Talk {
    const SERVICE: &'static str = "chat";
    const METHOD: &'static str = "talk";
    type In = String;
    type Out = String;
    type Reply = ();
    type Error = String;
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

fn run() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("wait") => wait(),
        Some("call") => call(),
        _ => Err("chat wait | call".into()),
    }
}

/// Talks to the first who calls.
fn wait() -> Result<(), Box<dyn Error>> {
    let (over, is_over) = mpsc::channel();
    let free = Mutex::new(Some(over));
    let serving = Service::new("chat").threads(2).stream(move |_: Talk, items, sink, _| {
        let over =
            free.lock().expect("nobody panics with it").take().ok_or_else(|| Failed::busy("two talk already"))?;
        talk(items, sink);
        let _ = over.send(());
        Ok(())
    });
    let serving = serving.start()?;
    is_over.recv()?;
    serving.stop(); // once the caller has the end
    Ok(())
}

/// Until either side ends it.
fn talk(items: Items<String>, mut sink: Sink<String>) {
    let (over, is_over) = mpsc::channel();
    let ends = over.clone();
    thread::spawn(move || {
        items.map_while(Result::ok).for_each(|line| println!("{line}"));
        over.send(())
    });
    thread::spawn(move || {
        let _ = io::stdin().lines().map_while(Result::ok).try_for_each(|line| sink.send(&line));
        ends.send(())
    });
    let _ = is_over.recv();
}

fn call() -> Result<(), Box<dyn Error>> {
    let (mut up, mut down) = Client::connect()?.stream(&Talk)?.split();
    thread::spawn(move || {
        // An error ends `down` as well, which says why.
        if io::stdin().lines().map_while(Result::ok).try_for_each(|line| up.send(&line)).is_ok() {
            up.finish();
        }
    });
    down.by_ref().try_for_each(|line| line.map(|line| println!("{line}")))?;
    Ok(down.end()?)
}
