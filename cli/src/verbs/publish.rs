//! `ipcctl publish`: tell all who subscribe to a topic.

use std::{collections::VecDeque, ffi::OsString};

use ipc_client::{Client, Datagram, Encoding, Error, Publication, Publishing, TopicName, control};

use crate::{
    body::{self, Body, EncodingName, Reading, Source},
    exit::Exit,
    format::Format,
    globals::Globals,
    lines::Lines,
    out,
    problem::{Problem, Result},
};

/// Publish an event on a topic, for all who subscribe to it at the moment.
///
/// Returns once the broker has taken the event, also without subscribers: -v says how many received it, and -o json prints that as
/// {"subscribers":N}. Nothing else is printed. Whether a subscriber reads it is not told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Forms of ARG, as for 'ipcctl send':
  key=string key:=json key@file   any number of them: members of one JSON object
  -                               standard input, which is not read otherwise
  @file                           a file
  anything else                   its own bytes; with --raw whatever it looks like
                                  (after -- if it begins with a dash)
No ARG: an event without a body.

Examples:
  ipcctl publish news.local 'rain tomorrow'
  ipcctl publish home.kitchen.temperature --retain celsius:=21.5
  ipcctl publish home.kitchen.temperature --clear
  tail -f app.log | ipcctl publish log.app --lines -")]
pub(crate) struct Args {
    /// What the event is about: labels joined by dots, outside of 'ipc'
    topic: TopicName,

    /// The body, see below
    #[arg(value_name = "ARG")]
    args: Vec<OsString>,

    /// Have the broker keep it as the last event of the topic, for 'subscribe --last'. It must have a body
    #[arg(long)]
    retain: bool,

    /// Have the broker forget the last event of the topic; subscribers receive an event without a body
    #[arg(long, conflicts_with_all = ["args", "retain", "lines", "raw", "encoding"])]
    clear: bool,

    /// Send one datagram instead of connecting: up to 64 KiB, and no answer tells whether the broker took it
    #[arg(long)]
    datagram: bool,

    /// Publish each line of ARG (- or @file) as an event of its own, as soon as it is complete. Stops at the first that the broker
    /// refuses, and names its line; up to 255 lines behind it may have been published
    #[arg(long, conflicts_with_all = ["datagram", "raw"])]
    lines: bool,

    /// Send ARG as its own bytes, whatever it looks like
    #[arg(long)]
    raw: bool,

    /// Encoding of the body [default: json for key=string and the like, else bytes]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "bytes|json")]
    encoding: Option<EncodingName>,
}

impl Args {
    pub(crate) fn run(mut self, globals: &Globals) -> Result<Exit> {
        let subject = self.topic.to_string();
        let reading = if self.raw { Reading::Raw } else { Reading::Grammar };
        let source = Source::parse(std::mem::take(&mut self.args), reading, &subject)?;
        if self.lines {
            let lines = Lines::open(source, &subject)?;
            let client = self.connect(globals)?;
            return Stream { client: &client, globals, subject, under_way: VecDeque::new() }.run(lines, &self);
        }
        let publication = self.publication(source.read(self.encoding.map(Encoding::from), &subject)?, globals)?;
        globals.say(|| {
            let size = body::display(publication.body.len(), publication.encoding);
            format!("publishing {size} on {subject}")
        });
        if self.datagram {
            return send_datagram(publication, globals, &subject);
        }
        let published = self.connect(globals)?.publish_bytes(&publication);
        let subscribers = published.map_err(|error| problem(&subject, error, globals))?;
        globals.say(|| format!("{subject}: sent to {}", counted(subscribers)));
        if globals.format == Format::Json {
            out::ndjson(&[control::Published { subscribers }])?;
        }
        Ok(Exit::SUCCESS)
    }

    fn connect(&self, globals: &Globals) -> Result<Client> {
        globals.client(&format!("publish {}", self.topic), self.topic.as_str())
    }

    fn publication(&self, body: Body, globals: &Globals) -> Result<Publication> {
        let topic = self.topic.clone();
        let publication = match (self.clear, self.retain) {
            (true, _) => Publication::clearing(topic),
            (false, true) if body.bytes.is_empty() => {
                let message = "an event without a body can't be kept: it would clear the topic";
                return Err(Problem::usage(self.topic.as_str(), message).hint("--clear clears it"));
            }
            (false, true) => Publication::new(topic, body.bytes).encoding(body.encoding).retained(),
            (false, false) => Publication::new(topic, body.bytes).encoding(body.encoding),
        };
        Ok(match globals.timeout() {
            Some(time) => publication.timeout(time),
            None => publication,
        })
    }
}

fn send_datagram(publication: Publication, globals: &Globals, subject: &str) -> Result<Exit> {
    let connected = globals.address()?.map_or_else(Datagram::connect, |address| Datagram::connect_to(&address));
    let sent = connected.and_then(|datagram| datagram.publish_bytes(publication));
    sent.map_err(|error| problem(subject, error, globals))?;
    globals.say(|| format!("a datagram on {subject} has left"));
    Ok(Exit::SUCCESS)
}

/// Events that leave together, each of which the broker answers.
struct Stream<'a> {
    client: &'a Client,
    globals: &'a Globals,
    subject: String,
    /// By their lines, oldest first.
    under_way: VecDeque<(u64, Publishing)>,
}

impl Stream<'_> {
    /// Lines gather as long as the next one is here already, so one at a time leaves at once.
    fn run(mut self, mut lines: Lines, args: &Args) -> Result<Exit> {
        let encoding = args.encoding.map_or(Encoding::BYTES, Encoding::from);
        let mut corked = None;
        while let Some(bytes) = lines.next_encoded(encoding, &self.subject)? {
            corked.get_or_insert_with(|| self.client.cork());
            let publication = match args.publication(Body { encoding, bytes }, self.globals) {
                Ok(publication) => publication,
                Err(problem) => {
                    drop(corked); // the lines before it leave
                    self.settle(0)?;
                    return Err(problem.at_line(lines.number()));
                }
            };
            let started = self.client.start_publishing(&publication);
            let publishing = started.map_err(|error| self.failed(lines.number(), error))?;
            self.under_way.push_back((lines.number(), publishing));
            let kept = match (lines.has_next(), self.under_way.len()) {
                (true, ..WINDOW) => continue,
                (true, _) => WINDOW / 2, // the broker answers these while we write the next
                (false, _) => 0,
            };
            corked = None;
            self.settle(kept)?;
        }
        drop(corked);
        self.settle(0)?;
        self.globals.say(|| format!("{}: {} lines were published", self.subject, lines.number()));
        Ok(Exit::SUCCESS)
    }

    /// Waits for the answers of all but the last few.
    fn settle(&mut self, kept: usize) -> Result<()> {
        while self.under_way.len() > kept {
            let Some((line, publishing)) = self.under_way.pop_front() else { return Ok(()) };
            publishing.wait().map_err(|error| self.failed(line, error))?;
        }
        Ok(())
    }

    fn failed(&self, line: u64, error: Error) -> Problem {
        problem(&self.subject, error, self.globals).at_line(line)
    }
}

fn problem(subject: &str, error: Error, globals: &Globals) -> Problem {
    Problem::from_error(subject, &globals.explained(error))
}

fn counted(subscribers: u32) -> String {
    match subscribers {
        0 => "no subscriber".to_owned(),
        1 => "1 subscriber".to_owned(),
        more => format!("{more} subscribers"),
    }
}

/// Events under way at most: enough to keep the broker busy, and few enough to be answered soon.
const WINDOW: usize = 256;
