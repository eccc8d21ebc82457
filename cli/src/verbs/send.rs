//! `ipcctl send`: call a service, wait, print its reply.

use std::{ffi::OsString, time::Duration};

use clap::ValueEnum;
use ipc_client::{Client, Datagram, Encoding, ErrorCode, Request, ServiceName, Target, control};

use crate::{
    body::{Reading, Source},
    call::Template,
    duration,
    exit::Exit,
    globals::Globals,
    problem::{Problem, Result},
    reply,
    verbs::lines,
    waiting::{InVain, Vigil, silent},
};

/// Call a service, wait, and print its reply.
///
/// The reply comes out byte for byte; one in JSON ends in a line break. Everything else goes to standard error, and the exit
/// code says what happened: see 'ipcctl help errors'.
#[derive(Debug, clap::Args)]
#[command(after_help = "Forms of ARG:
  key=string key:=json key@file   as many as wanted: members of one JSON object
  -                               standard input, read for no other reason
  @file                           a file
  anything else                   its own bytes (with --raw whatever it looks like; after -- if it begins with a dash)
No ARG: an empty body. What other users must not see goes into - or @file: they can read a command line.

With -o json a reply that is not JSON is printed as {\"encoding\":\"bytes\",\"base64\":\"...\"}.
When the reply cannot be written the exit code is 74, or 141 without a word if the reader has gone.

Examples:
  ipcctl send calc.add a:=1 b:=2
  ipcctl send --wait=5s -t 200ms upper hello
  ipcctl send store @photo.jpg > receipt
  printf 'a\\nb\\n' | ipcctl send upper --lines -")]
pub(crate) struct Send {
    /// What to call: SERVICE, SERVICE.METHOD, @PEER or @PEER.METHOD
    target: Target,

    /// The body, see below
    args: Vec<OsString>,

    /// Ask for no reply: return as soon as the broker has accepted the call
    #[arg(long)]
    oneway: bool,

    /// First wait until the service is there, for as long as the call may take or for DURATION; for the broker, too
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = duration::parse)]
    wait: Option<Option<Duration>>,

    /// Send one datagram instead of connecting: no more than 64 KiB either way
    #[arg(long)]
    datagram: bool,

    /// Make one call for each line of ARG (- or @file), over one connection, and print each answer as a line. Stops at the
    /// first call that fails, with its exit code: what is printed answers the lines before it
    #[arg(long, conflicts_with_all = ["oneway", "datagram", "raw"])]
    lines: bool,

    /// Exit with the code of a service that said no, if that is 1 to 63, instead of 1
    #[arg(long)]
    propagate: bool,

    /// Send ARG as its own bytes, whatever it looks like
    #[arg(long)]
    raw: bool,

    /// Encoding of the body [default: json for key=string and its like, else bytes, which a typed service reads as JSON]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "bytes|json")]
    encoding: Option<EncodingName>,
}

/// An encoding that the shell can write.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncodingName {
    Bytes,
    Json,
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Self {
        match name {
            EncodingName::Bytes => Self::BYTES,
            EncodingName::Json => Self::JSON,
        }
    }
}

impl Send {
    pub(crate) fn run(mut self, globals: &Globals) -> Result<Exit> {
        let template = self.template(globals);
        let reading = if self.raw { Reading::Raw } else { Reading::Grammar };
        let source = Source::parse(std::mem::take(&mut self.args), reading, &template.subject)?;
        if self.lines {
            let input = lines::Input::open(source, &template.subject)?;
            return lines::run(&template, input, &self.connect(globals, &template)?, globals.format);
        }
        let body = source.read(template.encoding, &template.subject)?;
        let request = template.request(body);
        if self.datagram {
            return self.send_datagram(request, globals, &template);
        }
        let client = self.connect(globals, &template)?;
        if self.oneway {
            client.one_way(request).map_err(|error| template.problem(&error))?;
            return Ok(Exit::SUCCESS);
        }
        let response = template.call(&client, request)?;
        reply::print(&response, globals.format)?;
        Ok(Exit::SUCCESS)
    }

    fn template(&self, globals: &Globals) -> Template {
        Template {
            target: self.target.clone(),
            subject: self.target.to_string(),
            time: globals.timeout(),
            encoding: self.encoding.map(Encoding::from),
            propagate: self.propagate,
        }
    }

    /// Connects, with `--wait` as soon as there is a broker and the service is there.
    fn connect(&self, globals: &Globals, template: &Template) -> Result<Client> {
        match self.wait {
            None => globals.client(&format!("send {}", template.subject), &template.subject),
            Some(patience) => self.await_service(patience.unwrap_or(globals.deadline()), globals, template),
        }
    }

    fn await_service(&self, patience: Duration, globals: &Globals, template: &Template) -> Result<Client> {
        let Target::Name(name) = &self.target else {
            return Err(Problem::usage(&template.subject, "--wait waits for a name, not for a peer"));
        };
        globals.say(|| format!("waiting for {name}, for up to {}", duration::display(patience)));
        let wanted = control::Wait { name: name.clone(), gone: false, target: true };
        let vigil = Vigil::begin(globals, &format!("send {name}"), patience)?;
        vigil.names(&[wanted]).map_err(|in_vain| match in_vain {
            InVain::NotYet(name) => never_appeared(&name, patience),
            InVain::Silent => silent(name.as_str(), globals, patience),
            InVain::Failed(error) => Problem::from_error(name.as_str(), &error),
        })
    }

    fn send_datagram(&self, request: Request, globals: &Globals, template: &Template) -> Result<Exit> {
        if self.wait.is_some() {
            self.connect(globals, template)?;
        }
        let connected = globals.address()?.map_or_else(Datagram::connect, |address| Datagram::connect_to(&address));
        let datagram = connected.map_err(|error| template.problem(&error))?;
        if self.oneway {
            datagram.one_way(request).map_err(|error| template.problem(&error))?;
            return Ok(Exit::SUCCESS);
        }
        let response = datagram.call_bytes(request).map_err(|error| template.problem(&error))?;
        reply::print(&response, globals.format)?;
        Ok(Exit::SUCCESS)
    }
}

/// The error when a service has not appeared in time. It is `no_service` and not `deadline`: the call itself was never made.
fn never_appeared(name: &ServiceName, patience: Duration) -> Problem {
    let message = format!("no process offered '{name}' within {}", duration::display(patience));
    Problem::new(ErrorCode::NO_SERVICE, name.as_str(), message).hint("it has not run; is the service being started?")
}
