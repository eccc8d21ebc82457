//! `ipcctl send --stream`: items go to the service, and items of the service come out, each as it comes.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    sync::Arc,
    thread,
};

use ipc_client::{Client, DownlinkBytes, Encoding, Error, ErrorCode, Request, Response, Retry, Streams, UplinkBytes};

use crate::{
    body::{Body, Source},
    call::Template,
    exit::Exit,
    format::Format,
    lines::{self, Lines},
    out,
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
    kept: Option<Vec<u8>>,
    sent: u64,
}

enum Origin {
    Lines(Lines),
    Bytes { file: File, name: String, most: usize, cut: Cut },
}

/// Sends `items` after the body, if there are any. Prints what comes back.
pub(crate) fn run(
    template: &Template<'_>,
    body: Body,
    items: Option<Source>,
    cut: Cut,
    client: &Client,
) -> Result<Exit> {
    let call = |meter| Call { template, cut, client, body, meter };
    let Some(source) = items else {
        call(Meter::start(None, template.globals)).download()?;
        return Ok(Exit::SUCCESS);
    };
    let (file, name) = lines::source(source, &template.subject)?;
    let total = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let call = call(Meter::start(total, template.globals));
    let source = match cut {
        Cut::Lines => Origin::Lines(Lines::of(file, name)),
        Cut::Chunks(most) => Origin::Bytes { file, name, most, cut },
        Cut::AsTheyCome => Origin::Bytes { file, name, most: READ, cut },
    };
    let items = Items { source, kept: None, sent: 0 };
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
        self.template.globals.say(|| format!("the reply behind the items has {} bytes", reply.body.len()));
        Ok(())
    }

    /// First both ways: a service that takes items and sends none refuses that before it takes any.
    fn upload(&self, items: Items) -> Result<()> {
        let both = Streams { request: true, reply: true };
        let (outcome, items) = self.exchange(items, both)?;
        let is_refused = |error: &Error| error.code() == ErrorCode::INVALID && error.retry() == Retry::Safe;
        match outcome {
            Err(error) if is_refused(&error) && items.as_ref().is_some_and(|items| items.sent == 0) => {
                let Some(items) = items else { return Err(self.template.problem(&error)) };
                let (outcome, _) = self.exchange(items, Streams { request: true, reply: false })?;
                let reply = outcome.map_err(|error| self.template.problem(&error))?;
                self.meter.clear();
                reply::print(&reply, self.template.globals.format, Ending::AsItIs)
            }
            outcome => outcome.map(drop).map_err(|error| self.template.problem(&error)),
        }
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
        let sender = thread::Builder::new().spawn(move || send(up, items, encoding, &subject, &meter));
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

    /// Prints items, and returns what the call ended with.
    fn print(
        &self,
        mut down: DownlinkBytes,
        count: impl Fn(&Response),
    ) -> Result<std::result::Result<Response, Error>> {
        for item in &mut down {
            match item {
                Ok(item) => {
                    self.print_item(&item)?;
                    count(&item);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(down.end())
    }

    fn print_item(&self, item: &Response) -> Result<()> {
        if io::stdout().is_terminal() {
            self.meter.clear();
        }
        let format = self.template.globals.format;
        let is_raw = format == Format::Text && self.cut != Cut::Lines && item.encoding != Encoding::JSON;
        if is_raw { out::payload(&item.body) } else { reply::print_line(item, format, &self.template.subject) }
    }
}

/// Sends all items, or as many as the service takes.
///
/// # Errors
/// The input can't be read; the service is told.
fn send(mut up: UplinkBytes, mut items: Items, encoding: Encoding, subject: &str, meter: &Meter) -> Result<Items> {
    loop {
        let item = match items.next(encoding, subject) {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(problem) => {
                up.fail(ErrorCode::CANCELLED, "the caller cannot read more of its input");
                return Err(problem);
            }
        };
        if up.send_until(encoding, item.clone(), None, None).is_err() {
            items.kept = Some(item); // why, the end of the call says
            return Ok(items);
        }
        items.sent += 1;
        meter.count(item.len());
    }
    up.finish();
    Ok(items)
}

impl Items {
    fn next(&mut self, encoding: Encoding, subject: &str) -> Result<Option<Vec<u8>>> {
        if let Some(item) = self.kept.take() {
            return Ok(Some(item));
        }
        match &mut self.source {
            Origin::Lines(lines) => lines.next_encoded(encoding, subject),
            Origin::Bytes { file, name, most, cut } => {
                let read = piece(file, *most, *cut).map_err(|error| lines::unreadable(subject, name, &error))?;
                Ok(Some(read).filter(|read| !read.is_empty()))
            }
        }
    }
}

fn piece(file: &mut File, most: usize, cut: Cut) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; most];
    let mut len = 0;
    while len < most {
        match file.read(&mut piece[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if cut == Cut::AsTheyCome {
            break;
        }
    }
    piece.truncate(len);
    Ok(piece)
}

/// As much as a pipe holds.
const READ: usize = 64 * 1024;
