//! A queue of work: `queue work CMD... &` as often as there shall be workers, which share one name, then `queue put JOB...`. A job is
//! put again only when the broker says that it has not run. One that fails is published on `jobs.dead`, for `queue dead` or
//! `ipcctl subscribe jobs.dead`.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use ipc_client::{CallError, Client, Failed, Method, Notice, Publication, Retry, Service};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Job(String);

impl Method for Job {
    const SERVICE: &'static str = "jobs";
    const METHOD: &'static str = "run";
    type Reply = String; // what the command prints
    type Error = String;
}

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("work", [program, rest @ ..])) => {
            let (program, rest) = (program.clone(), rest.to_vec());
            Service::new("jobs").shared().threads(1).method(move |job: Job, _| run(&program, &rest, &job)).run()?;
        }
        Some(("put", jobs @ [_, ..])) => {
            let client = Client::connect()?;
            jobs.iter().try_for_each(|job| put(&client, job))?;
        }
        Some(("dead", [])) => {
            for notice in Client::connect()?.subscribe("jobs.dead")? {
                let Notice::Event(event) = notice? else { continue };
                println!("{}", String::from_utf8_lossy(&event.body));
            }
        }
        _ => return Err("queue work CMD... | put JOB... | dead".into()),
    }
    Ok(())
}

/// Runs the command with the job as its last argument.
fn run(program: &str, arguments: &[String], job: &Job) -> Result<String, Failed<String>> {
    let output = Command::new(program).args(arguments).arg(&job.0).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(output.status.to_string().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn put(client: &Client, job: &str) -> Result<(), Box<dyn Error>> {
    loop {
        match client.call(&Job(job.to_owned())) {
            Ok(printed) => println!("{job}: {printed}"),
            Err(CallError::Failed(error)) if error.retry() == Retry::Safe => {
                thread::sleep(Duration::from_millis(50)); // `busy`, or no worker yet
                continue;
            }
            Err(error) => {
                println!("{job}: dead, {error}");
                client.publish_bytes(&Publication::new("jobs.dead".parse()?, job.to_owned()))?;
            }
        }
        return Ok(());
    }
}
