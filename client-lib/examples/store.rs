//! A store of files, as streams: `store serve DIRECTORY &`, then `store put NAME <file`, `store get NAME >copy`. No file is ever in
//! memory as a whole: who sends waits for who writes. From a shell, `ipcctl send store.get NAME --stream >copy`.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, Read, Write},
    process::ExitCode,
};

use bytes::Bytes;
use ipc_client::{
    Client, Encoding, ErrorCode, Failed, ItemsBytes, Request, Response, Service, SinkBytes, Streams, Target,
};

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
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", directory] => {
            env::set_current_dir(directory)?;
            let store =
                Service::new("store").any_stream(|call, items, sink, _| match (&*call.method, plain(&call.body)) {
                    ("put", Some(name)) => keep(name, items),
                    ("get", Some(name)) => give(name, sink).map_err(failed),
                    _ => Err(Failed::invalid("store.put or store.get, with the plain name of a file as body")),
                });
            store.run()?;
        }
        ["put", name] => {
            let put = Request::new(Target::parse("store.put")?, (*name).to_owned());
            let mut call = Client::connect()?.stream_bytes(put, Streams { request: true, reply: false })?;
            chunks(io::stdin()).try_for_each(|chunk| Ok::<_, Box<dyn Error>>(call.send(chunk?)?))?;
            call.end()?;
        }
        ["get", name] => {
            let get = Request::new(Target::parse("store.get")?, (*name).to_owned());
            let mut call = Client::connect()?.stream_bytes(get, Streams { request: false, reply: true })?;
            call.by_ref().try_for_each(|item| Ok::<_, Box<dyn Error>>(io::stdout().write_all(&item?.body)?))?;
            call.end()?;
        }
        _ => return Err("store serve DIRECTORY | put NAME | get NAME".into()),
    }
    Ok(())
}

/// A name that stays in the directory.
fn plain(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])).then_some(name)
}

/// Writes to another name first, so that an upload which is cut short leaves no file.
fn keep(name: &str, mut items: ItemsBytes) -> Result<Response, Failed> {
    let part = format!(".{name}.{:?}", std::thread::current().id());
    let mut file = File::create(&part).map_err(failed)?;
    let written = items.try_for_each(|item| file.write_all(&item?.body).map_err(failed)); // an error: the caller has died
    let kept = written.and_then(|()| fs::rename(&part, name).map_err(failed));
    kept.inspect_err(|_| drop(fs::remove_file(&part)))?;
    Ok(Response::bytes(""))
}

fn give(name: &str, mut sink: SinkBytes) -> io::Result<Response> {
    chunks(File::open(name)?).try_for_each(|chunk| sink.send(Encoding::BYTES, chunk?).map_err(io::Error::other))?;
    Ok(Response::bytes(""))
}

fn failed(error: io::Error) -> Failed {
    Failed::new(ErrorCode::INTERNAL, error.to_string())
}

fn chunks(mut file: impl Read) -> impl Iterator<Item = io::Result<Bytes>> {
    std::iter::from_fn(move || {
        let mut chunk = vec![0; 256 * 1024];
        let read = file.read(&mut chunk);
        (!matches!(read, Ok(0))).then(|| read.map(|len| Bytes::from(chunk).slice(..len)))
    })
}
