//! `ipcctl send`: call a service, wait, print its reply.

use std::{
    env,
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    time::{Duration, Instant},
};

use ipc_client::{Client, Datagram, Encoding, ErrorCode, Request, ServiceName, Target, control};

use crate::{
    body::{self, EncodingName, Reading, Source},
    call::Template,
    duration,
    exit::Exit,
    globals::Globals,
    input::LIMIT,
    lines::Lines,
    number::within,
    problem::{Problem, Result},
    reply::{self, Ending},
    typed::{self, Typed},
    verbs::{
        lines,
        stream::{self, Cut},
    },
    waiting::{GaveUp, Vigil, silent},
};

/// Call a service, wait, and print its reply.
///
/// The reply is printed byte for byte; one in JSON ends in a line break. Everything else goes to standard error, and the exit code
/// says what happened: see 'ipcctl help errors'.
#[derive(Debug, clap::Args)]
#[command(after_help = "Forms of ARG:
  key=string key:=json key@file   any number of them: members of one JSON object
  -                               standard input, which is not read otherwise
  @file                           a file
  anything else                   its own bytes; with --raw whatever it looks like
                                  (after -- if it begins with a dash)
No ARG: an empty body. Other users can read a command line: put secrets into - or @file.

With -o json a reply in JSON is printed as it is, any other as {\"encoding\":\"bytes\",\"text\":\"...\"}, or with \"base64\" in \
place of \"text\" if it isn't UTF-8. If the reply can't be written, the exit code is 74, or 141 without an error line if the \
reader has gone. Output that is closed from the start (>&-) counts as /dev/null. In a handler of 'ipcctl serve' a call has no more time than its own caller gives it ($IPC_DEADLINE_MS).

Examples:
  ipcctl send calc.add a:=1 b:=2
  ipcctl send -n --wait=5s -t 2s upper hello
  ipcctl send store @photo.jpg > receipt
  printf 'a\\nb\\n' | ipcctl send upper --lines -
  ipcctl send store.put --stream - < disk.img")]
pub(crate) struct Args {
    /// What to call: SERVICE, SERVICE.METHOD, @PEER or @PEER.METHOD
    target: Target,

    /// The body, see below
    #[arg(value_name = "ARG")]
    args: Vec<OsString>,

    /// Want no reply: return as soon as the broker has accepted the call. What becomes of it is not told: one that its service can't
    /// read is lost, unless the broker knows that there is no such method, or the fields are known from an earlier call
    #[arg(long)]
    oneway: bool,

    /// First wait for the broker and the service, for as long as the call may take or for DURATION
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = duration::parse)]
    wait: Option<Option<Duration>>,

    /// End the reply with a line break if it has none
    #[arg(short = 'n', long)]
    newline: bool,

    /// Send one datagram instead of connecting: up to 64 KiB each way, answered only within one network namespace
    #[arg(long)]
    datagram: bool,

    /// Make one call for each line of ARG (- or @file), over one connection, and print each reply as a line. Stops at the
    /// first call that fails, with its exit code; what is printed so far answers the lines before it
    #[arg(long, conflicts_with_all = ["oneway", "datagram", "raw"])]
    lines: bool,

    /// Print the items that the service sends, as they come: bytes as they are, JSON a line each. If the last ARG is - or @file, that
    /// is sent as items, as its bytes come, and the ARGs before it are the body. With --lines each line is an item. -t is how long
    /// there may be silence. A line on a terminal at standard error says how far it is, without -q. A reply is printed if no item came before it
    #[arg(long, conflicts_with_all = ["oneway", "datagram"])]
    stream: bool,

    /// Send items of this size; the last one may be shorter
    #[arg(long, value_name = "BYTES", requires = "stream", conflicts_with = "lines", value_parser = |text: &str| within(text, 1..=LIMIT))]
    chunk: Option<usize>,

    /// If the service fails with a code of its own, exit with that (1 to 63) instead of 1
    #[arg(long)]
    propagate: bool,

    /// Send ARG as its own bytes, whatever it looks like
    #[arg(long)]
    raw: bool,

    /// Encoding of the body [default: json for key=string and the like, else bytes; a typed service reads bytes as JSON]. With
    /// bincode the body is written as JSON, and turned into bincode by what the service says of its types, as is the reply
    #[arg(long, value_enum, hide_possible_values = true, value_name = "bytes|json|bincode")]
    encoding: Option<EncodingName>,
}

impl Args {
    pub(crate) fn run(mut self, globals: &Globals) -> Result<Exit> {
        self.check_wait()?;
        if self.is_bincode() && (self.stream || self.lines || self.datagram || self.oneway) {
            let message = "--encoding bincode is for a call with one reply";
            return Err(
                Problem::usage(self.target.to_string(), message).hint("leave out the other options, or bincode")
            );
        }
        let reading = if self.raw { Reading::Raw } else { Reading::Grammar };
        let mut args = std::mem::take(&mut self.args);
        let items = if self.stream { args.pop_if(|last| is_input(last)) } else { None };
        let source = Source::parse(args, reading, &self.target.to_string())?;
        let template = self.template(&source, globals);
        if self.stream {
            return self.stream(source, items, globals, &template);
        }
        if self.lines {
            let input = Lines::open(source, &template.subject)?;
            return lines::run(&template, input, &self.connect(globals, &template)?, globals.format);
        }
        if self.is_bincode() {
            return self.call_in_bincode(source, globals, &template);
        }
        let has_fields = source.has_fields();
        let body = source.read(template.encoding, &template.subject)?;
        let mut request = template.request(body);
        if self.datagram {
            return self.send_datagram(request, globals, &template);
        }
        let began = Instant::now();
        let client = self.connect(globals, &template)?;
        if self.wait.is_none() {
            request.timeout = request.timeout.map(|time| time.saturating_sub(began.elapsed()));
        }
        if self.oneway {
            typed::check_one_way(&client, &self.target, &request.body)?;
            client.one_way(request).map_err(|error| template.problem(&error))?;
            globals.say(|| format!("the broker has accepted the call of {}", template.subject));
            return Ok(Exit::SUCCESS);
        }
        if has_fields {
            typed::check(&client, &self.target, &request.body)?;
        }
        let body = request.body.clone();
        let response = template.call(&client, request).map_err(|problem| {
            let code = [ErrorCode::INVALID, ErrorCode::NO_METHOD].into_iter().find(|code| problem.is(*code));
            match code.and_then(|code| typed::explain(&client, &self.target, code, &body)) {
                Some(words) => problem.hint(words),
                None => problem,
            }
        })?;
        reply::print(&response, globals.format, self.ending())?;
        Ok(Exit::SUCCESS)
    }

    fn stream(
        &self,
        source: Source,
        items: Option<OsString>,
        globals: &Globals,
        template: &Template<'_>,
    ) -> Result<Exit> {
        let cut = match (self.lines, self.chunk) {
            (true, _) => Cut::Lines,
            (false, Some(bytes)) => Cut::Chunks(bytes),
            (false, None) => Cut::AsTheyCome,
        };
        let items = items.map(|items| Source::parse(vec![items], Reading::Grammar, &template.subject)).transpose()?;
        let body = source.read(template.encoding, &template.subject)?;
        stream::run(template, body, items, cut, &self.connect(globals, template)?)
    }

    /// Without the types of the service, nothing of the body matters.
    fn call_in_bincode(&self, source: Source, globals: &Globals, template: &Template<'_>) -> Result<Exit> {
        let began = Instant::now();
        let client = self.connect(globals, template)?;
        let typed = Typed::find(&client, &self.target)?;
        let mut request = template.request(source.read(template.encoding, &template.subject)?);
        if self.wait.is_none() {
            request.timeout = request.timeout.map(|time| time.saturating_sub(began.elapsed()));
        }
        let response = typed.decode(template.call(&client, typed.encode(request)?)?)?;
        reply::print(&response, globals.format, self.ending())?;
        Ok(Exit::SUCCESS)
    }

    /// `--wait 5s upper x` would take `5s` for the service, and wait for that; `upper x --wait 5s` would take it for a part of the body.
    fn check_wait(&self) -> Result<()> {
        let Some(time) = time_behind_wait(env::args_os()).filter(|_| self.wait == Some(None)) else { return Ok(()) };
        let target = self.target.to_string();
        let (subject, place) = if target == time { ("", "service") } else { (target.as_str(), "body") };
        let message = format!("'{time}' stands where the {place} is expected");
        Err(Problem::usage(subject, message).hint(format!("write the time with =, as in --wait={time}")))
    }

    fn is_bincode(&self) -> bool {
        self.encoding == Some(EncodingName::Bincode)
    }

    fn ending(&self) -> Ending {
        if self.newline { Ending::LineBreak } else { Ending::AsItIs }
    }

    fn template<'a>(&self, source: &Source, globals: &'a Globals) -> Template<'a> {
        Template {
            target: self.target.clone(),
            subject: self.target.to_string(),
            encoding: self.encoding.map(Encoding::from),
            propagate: self.propagate,
            numeral: source.numeral(),
            globals,
        }
    }

    /// Connects, with `--wait` as soon as there is a broker and the service is there.
    fn connect(&self, globals: &Globals, template: &Template<'_>) -> Result<Client> {
        let verb = format!("send {}", template.subject);
        let Some(patience) = self.wait else { return globals.client(&verb, &template.subject) };
        let Target::Name(name) = &self.target else {
            return Err(Problem::usage(&template.subject, "--wait waits for a name, not for a peer"));
        };
        let patience = patience.unwrap_or(globals.deadline());
        globals.say(|| format!("waiting for {name}, for up to {}", duration::display(patience)));
        let wanted = control::Wait { name: name.clone(), gone: false, target: true };
        let vigil = Vigil::begin(globals, &verb, patience)?;
        vigil.names(&[wanted]).map_err(|gave_up| match gave_up {
            GaveUp::NotYet(name) => never_appeared(&name, patience),
            GaveUp::Silent => silent(name.as_str(), globals, patience),
            GaveUp::Failed(error) => Problem::from_error(name.as_str(), &globals.explained(error)),
        })
    }

    fn send_datagram(&self, request: Request, globals: &Globals, template: &Template<'_>) -> Result<Exit> {
        if self.wait.is_some() {
            self.connect(globals, template)?;
        }
        let connected = globals.address()?.map_or_else(Datagram::connect, |address| Datagram::connect_to(&address));
        let datagram = connected.map_err(|error| Problem::from_error(&template.subject, &error))?;
        globals.say(|| {
            format!(
                "sending a datagram for {} with {}",
                template.subject,
                body::display(request.body.len(), request.encoding)
            )
        });
        if self.oneway {
            datagram.one_way(request).map_err(|error| template.problem(&error))?;
            globals.say(|| format!("a datagram for {} has left", template.subject));
            return Ok(Exit::SUCCESS);
        }
        let response =
            datagram.call_bytes(request).map_err(|error| match (error.code(), template.problem(&error)) {
                (ErrorCode::DEADLINE, problem) => problem.hint(UNANSWERED),
                (_, problem) => problem,
            })?;
        globals.say(|| {
            let size = body::display(response.body.len(), response.encoding);
            format!("{} answered with {size}", template.subject)
        });
        reply::print(&response, globals.format, self.ending())?;
        Ok(Exit::SUCCESS)
    }
}

/// A time that stands apart from the option that it belongs to.
fn time_behind_wait(args: impl Iterator<Item = OsString>) -> Option<String> {
    let mut behind = args.take_while(|arg| arg != "--").skip_while(|arg| arg != "--wait");
    let time = behind.nth(1)?.into_string().ok()?;
    duration::parse(&time).is_ok().then_some(time)
}

/// Whether an argument stands for standard input or a file.
fn is_input(arg: &OsString) -> bool {
    arg == "-" || arg.as_bytes().starts_with(b"@")
}

/// Why a datagram may wait for its answer in vain: the caller's address is an abstract name, and the kernel looks those up in the
/// network namespace of the sender (unix(7)).
const UNANSWERED: &str = "a broker in another network namespace can't answer a datagram: leave out --datagram";

/// The error when a service has not appeared in time. It is `no_service` and not `deadline`: the call itself was never made.
fn never_appeared(name: &ServiceName, patience: Duration) -> Problem {
    let message = format!("no process offered '{name}' within {}", duration::display(patience));
    Problem::new(ErrorCode::NO_SERVICE, name.as_str(), message).hint("it has not run; is the service being started?")
}
