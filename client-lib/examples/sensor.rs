//! Temperature sensors: `sensor report kitchen` publishes the numbers that it reads from standard input, and the broker keeps the last
//! one. `sensor watch` prints what each room has now and every change, `sensor watch kitchen` those of one room.
//! From a shell: `ipcctl subscribe home. --last`.
#![forbid(unsafe_code)]

use std::{borrow::Cow, error::Error, io, process::ExitCode};

use ipc_client::{Client, Notice, Topic};
use serde::{Deserialize, Serialize};

struct Temperature<'a> {
    room: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Reading {
    celsius: f64,
}

impl Topic for Temperature<'_> {
    type Event = Reading;

    fn name(&self) -> Cow<'_, str> {
        format!("home.{}.temperature", self.room).into()
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

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["report", room] => report(&Temperature { room }),
        ["watch"] => watch(&Temperature { room: "*" }),
        ["watch", room] => watch(&Temperature { room }),
        _ => Err("sensor report ROOM | watch [ROOM]".into()),
    }
}

fn report(topic: &Temperature) -> Result<(), Box<dyn Error>> {
    let client = Client::connect()?;
    for line in io::stdin().lines() {
        client.retain(topic, &Reading { celsius: line?.trim().parse()? })?;
    }
    Ok(())
}

fn watch(topic: &Temperature) -> Result<(), Box<dyn Error>> {
    for notice in Client::connect()?.subscription(topic.name()).last().start()? {
        match notice? {
            Notice::Event(event) => println!("{} {:.1}", event.topic.as_str(), event.decode::<Reading>()?.celsius),
            Notice::Gap(lost) => eprintln!("{lost} readings are lost"),
            _ => {} // the broker is back, and says again what it keeps
        }
    }
    Ok(())
}
