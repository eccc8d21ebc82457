//! A room where many talk: each line is an event, and one task reads the terminal's lines while it waits for those of the others.
//! `async_chat NAME` at as many terminals as you like; Ctrl-D leaves.
#![forbid(unsafe_code)]

use std::{error::Error, io, process::ExitCode};

use ipc_client::{AsyncClient, Notice};
use tokio::sync::mpsc;

/// The room.
#[ipc_client::service(name = "room")]
trait Room {
    /// A line that was said.
    #[event]
    fn said(name: String, line: String);
}

/// What the loop waits for.
enum Happened {
    Typed(Option<String>),
    Told(Option<ipc_client::Result<Notice>>),
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
    let name = std::env::args().nth(1).ok_or("async_chat NAME")?;
    let (typed, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        io::stdin().lines().map_while(Result::ok).try_for_each(|line| typed.blocking_send(line))
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(talk(name, lines))
}

async fn talk(name: String, mut lines: mpsc::Receiver<String>) -> Result<(), Box<dyn Error>> {
    let client = AsyncClient::connect().await?;
    let mut room = client.subscribe(RoomSaid::TOPIC).await?;
    loop {
        match next(&mut lines, &mut room).await {
            Happened::Typed(Some(line)) => {
                client.publish(&RoomSaid::TOPIC, &RoomSaid { name: name.clone(), line }).await?;
            }
            Happened::Typed(None) => return Ok(()),
            Happened::Told(Some(Ok(Notice::Event(event)))) => {
                let RoomSaid { name: other, line } = event.decode()?;
                if other != name {
                    println!("{other}: {line}");
                }
            }
            Happened::Told(Some(Err(error))) => return Err(error.into()),
            Happened::Told(_) => eprintln!("some lines were lost"),
        }
    }
}

async fn next(lines: &mut mpsc::Receiver<String>, room: &mut ipc_client::AsyncSubscription) -> Happened {
    tokio::select! {
        line = lines.recv() => Happened::Typed(line),
        notice = room.next() => Happened::Told(notice),
    }
}
