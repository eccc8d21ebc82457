//! `ipcctl send --stream`: items go to the service, and items of the service come out, each as it comes.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_client::{Client, DownlinkBytes, Encoding, Error, ErrorCode, Request, Response, Retry, Streams, UplinkBytes};

use crate::{
    body::{self, Body, Source},
    call::Template,
    duration,
    exit::Exit,
    format::Format,
    lines::{self, Lines},
    out,
    pieces::{self, Pieces},
    problem::{Problem, Result},
    progress::Meter,
    reply::{self, Ending},
};

/// What becomes an item, and how items come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A line.
    Lines,
    /// This number of bytes.
    Chunks(usize),
    /// What one read brings: bytes as they come.
    AsTheyCome,
}

/// Items for the service.
struct Items {
    source: Origin,
    /// Read, but not sent.
    kept: Vec<Bytes>,
    /// Why nothing more can be read, behind what is kept.
    failure: Option<Problem>,
    /// Whether any was sent.
    has_begun: bool,
}

/// How long nothing has gone to the service or come from it. The broker can't know: while one side waits for the other, the library
/// shows that it is there.
struct Silence {
    /// With `-t`.
    longest: Option<Duration>,
    since: Mutex<Instant>,
}

enum Origin {
    Lines(Lines),
    Bytes(Pieces, String),
}

/// Sends `items` after the body, if there are any. Prints what comes back.
pub(crate) fn run(
    template: &Template<'_>,
    body: Body,
    items: Option<Source>,
    cut: Cut,
    client: &Client,
) -> Result<Exit> {
    let silence = Arc::new(Silence::begin(template.globals.timeout()));
    let call = |meter| Call { template, cut, client, body, meter, silence, has_items: Cell::new(false) };
    let Some(source) = items else {
        call(Meter::start(None, template.globals)).download()?;
        return Ok(Exit::SUCCESS);
    };
    let (file, name) = lines::source(source, &template.subject)?;
    let total = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let call = call(Meter::start(total, template.globals));
    let source = match cut {
        Cut::Lines => Origin::Lines(Lines::of(file, name)),
        Cut::Chunks(len) => Origin::Bytes(Pieces::of(file, pieces::Cut::Chunks(len)), name),
        Cut::AsTheyCome => Origin::Bytes(Pieces::of(file, pieces::Cut::AsTheyCome), name),
    };
    let items = Items { source, kept: Vec::new(), failure: None, has_begun: false };
    call.upload(items)?;
    Ok(Exit::SUCCESS)
}

/// A call that is made, and perhaps made once more.
struct Call<'a> {
    template: &'a Template<'a>,
    cut: Cut,
    client: &'a Client,
    body: Body,
    /// Of the items that are sent, or else of those that come.
    meter: Arc<Meter>,
    silence: Arc<Silence>,
    /// Whether an item has come.
    has_items: Cell<bool>,
}

impl Call<'_> {
    fn request(&self) -> Request {
        self.template.request(Body { encoding: self.body.encoding, bytes: self.body.bytes.clone() })
    }

    fn download(&self) -> Result<()> {
        let call = self.client.stream_bytes(self.request(), Streams { request: false, reply: true });
        let (_, down) = call.map_err(|error| self.template.problem(&error))?.split();
        let reply = self
            .print(down, |item| self.meter.count(item.body.len()))?
            .map_err(|error| self.template.problem(&error))?;
        self.conclude(&reply)
    }

    /// First both ways: a service that takes items and sends none refuses that before it takes any.
    fn upload(&self, items: Items) -> Result<()> {
        let both = Streams { request: true, reply: true };
        let (outcome, items) = self.exchange(items, both)?;
        let is_refused = |error: &Error| error.code() == ErrorCode::INVALID && error.retry() == Retry::Safe;
        match outcome {
            Err(error) if is_refused(&error) && items.as_ref().is_some_and(|items| !items.has_begun) => {
                let Some(items) = items else { return Err(self.template.problem(&error)) };
                let (outcome, _) = self.exchange(items, Streams { request: true, reply: false })?;
                let reply = outcome.map_err(|error| self.template.problem(&error))?;
                self.meter.clear();
                reply::print(&reply, self.template.globals.format, Ending::AsItIs)
            }
            outcome => self.conclude(&outcome.map_err(|error| self.template.problem(&error))?),
        }
    }

    /// Prints the reply, unless it would be taken for one more item. Both an empty one and `null` say that there is none.
    fn conclude(&self, reply: &Response) -> Result<()> {
        let says_nothing = reply.body.is_empty() || reply.encoding == Encoding::JSON && *reply.body == *b"null";
        if self.has_items.get() {
            let size = body::display(reply.body.len(), reply.encoding);
            self.template.globals.say(|| format!("the reply behind the items, {size}, isn't printed"));
            return Ok(());
        }
        self.meter.clear();
        if says_nothing {
            return Ok(());
        }
        reply::print(reply, self.template.globals.format, Ending::AsItIs)
    }

    /// Sends on a thread of its own, for a service may send while it takes items. Returns those items that are left after a refusal.
    fn exchange(
        &self,
        items: Items,
        streams: Streams,
    ) -> Result<(std::result::Result<Response, Error>, Option<Items>)> {
        let call = self.client.stream_bytes(self.request(), streams).map_err(|error| self.template.problem(&error))?;
        let (up, down) = call.split();
        let encoding = self.template.encoding.unwrap_or(Encoding::BYTES);
        let (subject, meter) = (self.template.subject.clone(), self.meter.clone());
        let silence = self.silence.clone();
        let sender = thread::Builder::new().spawn(move || send(up, items, encoding, &subject, (&meter, &silence)));
        let sender = sender.map_err(|error| Problem::host(&self.template.subject, "cannot start a thread", &error))?;
        let outcome = self.print(down, |_| {})?;
        match &outcome {
            // A service may answer without having taken all; our input may never end.
            Ok(_) if !sender.is_finished() => Ok((outcome, None)),
            Err(error) if error.code() != ErrorCode::INVALID && !sender.is_finished() => Ok((outcome, None)),
            _ => match sender.join() {
                Ok(Ok(items)) => Ok((outcome, Some(items))),
                Ok(Err(problem)) => Err(problem), // why the items ended: the call only says that they did
                Err(_) => Ok((outcome, None)),
            },
        }
    }

    /// Prints items, and returns what the call ended with. Those that are here already leave with one write; none is held back for one
    /// that isn't.
    fn print(
        &self,
        mut down: DownlinkBytes,
        count: impl Fn(&Response),
    ) -> Result<std::result::Result<Response, Error>> {
        let mut gathered = Vec::new();
        loop {
            let next = if gathered.is_empty() {
                down.next_until(self.silence.until(), None)
            } else {
                down.next_within(Duration::ZERO)
            };
            match next {
                Ok(Some(Some(item))) => {
                    self.silence.end();
                    self.has_items.set(true);
                    let written = self.written(&item);
                    count(&item);
                    match written {
                        Ok(long) if gathered.is_empty() && long.len() >= GATHERED => self.put(&long)?,
                        Ok(short) => {
                            gathered.extend_from_slice(&short);
                            if gathered.len() < GATHERED {
                                continue;
                            }
                        }
                        Err(problem) => {
                            self.put(&gathered)?;
                            return Err(problem);
                        }
                    }
                }
                Ok(None) if gathered.is_empty() && self.silence.is_over() => return Ok(Err(self.silence.error())),
                Ok(None) => {}
                Ok(Some(None)) => {
                    self.put(&gathered)?;
                    return Ok(self.end(down));
                }
                Err(error) => {
                    self.put(&gathered)?;
                    return Ok(Err(error));
                }
            }
            self.put(&gathered)?;
            gathered.clear();
        }
    }

    /// Waits for the reply behind the items, during which items of ours may go.
    fn end(&self, mut down: DownlinkBytes) -> std::result::Result<Response, Error> {
        loop {
            match down.end_until(self.silence.until()) {
                Some(outcome) => return outcome,
                None if self.silence.is_over() => return Err(self.silence.error()),
                None => {}
            }
        }
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        if io::stdout().is_terminal() && !bytes.is_empty() {
            self.meter.clear();
        }
        out::payload(bytes)
    }

    /// An item as it is printed.
    fn written<'a>(&self, item: &'a Response) -> Result<Cow<'a, [u8]>> {
        let format = self.template.globals.format;
        let is_raw = format == Format::Text && self.cut != Cut::Lines && item.encoding != Encoding::JSON;
        if is_raw {
            return Ok(Cow::Borrowed(&item.body));
        }
        reply::own_line(item, format, &self.template.subject).map(Cow::Owned)
    }
}

/// Sends all items, or as many as the service takes.
///
/// # Errors
/// The input can't be read; the service is told.
fn send(
    mut up: UplinkBytes,
    mut items: Items,
    encoding: Encoding,
    subject: &str,
    (meter, silence): (&Meter, &Silence),
) -> Result<Items> {
    loop {
        let mut batch = match items.next(encoding, subject) {
            Ok(batch) if batch.is_empty() => break,
            Ok(batch) => batch,
            Err(problem) => {
                up.fail(ErrorCode::CANCELLED, "the caller cannot read more of its input");
                return Err(problem);
            }
        };
        // The first alone: a service that wants none of them says so before it takes it.
        let later = if items.has_begun { Vec::new() } else { batch.split_off(1) };
        let mut is_first = true;
        let each = batch.iter().cloned().inspect(|_| {
            if !std::mem::take(&mut is_first) {
                silence.end(); // the one before is on its way
            }
        });
        let sent = up.send_each(encoding, each);
        let bytes = batch.iter().map(Bytes::len).sum();
        items.kept = later;
        if sent.is_err() {
            items.kept.splice(..0, batch); // why, the end of the call says
            return Ok(items);
        }
        silence.end();
        items.has_begun = true;
        meter.count(bytes);
    }
    up.finish();
    Ok(items)
}

impl Silence {
    fn begin(longest: Option<Duration>) -> Self {
        Self { longest, since: Mutex::new(Instant::now()) }
    }

    /// Something went or came. Without a limit no one asks when.
    fn end(&self) {
        if self.longest.is_some() {
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// When it is too long, unless it ends before.
    fn until(&self) -> Option<Instant> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.longest.and_then(|longest| since.checked_add(longest))
    }

    fn is_over(&self) -> bool {
        self.until().is_some_and(|until| until <= Instant::now())
    }

    fn error(&self) -> Error {
        let time = duration::display(self.longest.unwrap_or_default());
        Error::new(ErrorCode::DEADLINE, format!("nothing went to the service or came from it for {time}"))
            .with_retry(Retry::Unknown)
    }
}

impl Items {
    /// What can be had without another wait, at least one item; none at the end.
    fn next(&mut self, encoding: Encoding, subject: &str) -> Result<Vec<Bytes>> {
        if !self.kept.is_empty() {
            return Ok(std::mem::take(&mut self.kept));
        }
        if let Some(problem) = self.failure.take() {
            return Err(problem);
        }
        match &mut self.source {
            Origin::Bytes(pieces, name) => pieces.next().map_err(|error| lines::unreadable(subject, name, &error)),
            Origin::Lines(lines) => {
                let mut batch = Vec::from_iter(lines.next_encoded(encoding, subject)?.map(Bytes::from));
                while lines.has_next() {
                    match lines.next_encoded(encoding, subject) {
                        Ok(line) => batch.extend(line.map(Bytes::from)),
                        Err(problem) => {
                            self.failure = Some(problem);
                            break;
                        }
                    }
                }
                Ok(batch)
            }
        }
    }
}

/// Printed items that are gathered at most, in bytes.
const GATHERED: usize = 64 * 1024;
