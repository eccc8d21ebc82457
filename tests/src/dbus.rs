//! D-Bus by hand, little-endian, as far as the tests need it that hold this broker against others: greeting, calls and answers.

use std::{
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout},
    time::TimeVal,
};

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The name of the service.
    pub to: &'a str,
    /// Where the method is.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// What it is given.
    pub body: Body<'a>,
    /// Descriptors that come with it.
    pub descriptors: u32,
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// None.
    Nothing,
    /// One text.
    Text(&'a str),
    /// A name to be requested, without flags.
    Name(&'a str),
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// 1 is a call, 2 its result, 3 an error, 4 a signal.
    pub kind: u8,
    /// Its number.
    pub serial: u32,
    /// The number of the call that it answers.
    pub answers: u32,
    /// Who sent it.
    pub sender: String,
}

/// A connection.
#[derive(Debug)]
pub struct DBusPeer {
    stream: UnixStream,
    unread: Vec<u8>,
    last_serial: u32,
}

impl<'a> Call<'a> {
    /// A call of one of the broker's own methods.
    #[must_use]
    pub fn of_broker(member: &'a str, body: Body<'a>) -> Self {
        Self { to: BROKER, interface: BROKER, member, body, descriptors: 0 }
    }

    /// A ping of the broker.
    #[must_use]
    pub fn ping() -> Self {
        Self { interface: "org.freedesktop.DBus.Peer", ..Self::of_broker("Ping", Body::Nothing) }
    }

    /// A call of a method of a service.
    #[must_use]
    pub fn to(name: &'a str) -> Self {
        Self { to: name, interface: "com.example.Echo", member: "Echo", body: Body::Nothing, descriptors: 0 }
    }

    /// Its bytes. Peers may use a number again.
    #[must_use]
    pub fn to_bytes(self, serial: u32) -> Vec<u8> {
        let (signature, body) = self.body.parts();
        let mut fields = Vec::new();
        put_field(&mut fields, PATH, "o", "/");
        put_field(&mut fields, INTERFACE, "s", self.interface);
        put_field(&mut fields, MEMBER, "s", self.member);
        put_field(&mut fields, DESTINATION, "s", self.to);
        if !signature.is_empty() {
            put_signature(&mut fields, signature);
        }
        if self.descriptors > 0 {
            put_number(&mut fields, DESCRIPTORS, self.descriptors);
        }
        message(CALL, serial, &fields, &body)
    }
}

impl Body<'_> {
    fn parts(self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Nothing => ("", Vec::new()),
            Self::Text(text) => ("s", string(text)),
            Self::Name(name) => {
                let mut body = string(name);
                pad(&mut body, 4);
                body.extend(0_u32.to_le_bytes());
                ("su", body)
            }
        }
    }
}

impl DBusPeer {
    /// Says who it is and waits for the answer to its hello.
    fn greet(mut stream: UnixStream) -> io::Result<Self> {
        stream.write_all(&greeting())?;
        let mut peer = Self { stream, unread: Vec::new(), last_serial: HELLO };
        let accepted = peer.line()?;
        let agreed = peer.line()?;
        if !accepted.starts_with(b"OK ") || agreed != b"AGREE_UNIX_FD" {
            return Err(io::Error::other(format!("{:?}", String::from_utf8_lossy(&[accepted, agreed].concat()))));
        }
        peer.answer_to(HELLO)?;
        Ok(peer)
    }

    /// Connects and greets. Connecting, and each wait from then on, takes no longer than `patience`.
    ///
    /// # Errors
    /// Those of the socket, and that the broker answers something else.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let new = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let (seconds, micros) = (patience.as_secs().cast_signed(), i64::from(patience.subsec_micros()));
        setsockopt(&new, SendTimeout, &TimeVal::new(seconds, micros))?; // connecting waits no longer either
        connect(new.as_raw_fd(), &UnixAddr::new(path)?)?;
        let stream = UnixStream::from(new);
        stream.set_read_timeout(Some(patience))?;
        Self::greet(stream)
    }

    /// Its socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Makes a call and waits for the answer.
    ///
    /// # Errors
    /// Those of the socket, and an error for an answer.
    pub fn call(&mut self, call: Call<'_>) -> io::Result<()> {
        self.last_serial += 1;
        self.stream.write_all(&call.to_bytes(self.last_serial))?;
        self.answer_to(self.last_serial)
    }

    /// Answers a call with nothing.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn answer(&mut self, call: &Received) -> io::Result<()> {
        self.last_serial += 1;
        let mut fields = Vec::new();
        put_field(&mut fields, DESTINATION, "s", &call.sender);
        put_number(&mut fields, ANSWERS, call.serial);
        self.stream.write_all(&message(RESULT, self.last_serial, &fields, &[]))
    }

    /// The next message.
    ///
    /// # Errors
    /// Those of the socket, and `UnexpectedEof` once the broker has closed it.
    pub fn receive(&mut self) -> io::Result<Received> {
        self.fill_to(16)?;
        let [body, serial, fields] = [4, 8, 12].map(|at| number_at(&self.unread, at));
        let end_of_fields = 16 + fields as usize;
        let len = end_of_fields.next_multiple_of(8) + body as usize;
        self.fill_to(len)?;
        let message: Vec<u8> = self.unread.drain(..len).collect();
        let (answers, sender) = fields_of(&message[..end_of_fields]);
        Ok(Received { kind: message[1], serial, answers, sender })
    }

    fn answer_to(&mut self, serial: u32) -> io::Result<()> {
        loop {
            let message = self.receive()?;
            match message.kind {
                RESULT if message.answers == serial => return Ok(()),
                ERROR if message.answers == serial => return Err(io::Error::other("an error for an answer")),
                _ => {} // the broker tells everyone which names they have
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.unread.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.fill_to(self.unread.len() + 1)?;
        }
    }

    fn fill_to(&mut self, len: usize) -> io::Result<()> {
        while self.unread.len() < len {
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend(&chunk[..read]),
            }
        }
        Ok(())
    }
}

/// What a client of this process's user says first, at once: who it is, that it takes descriptors, and hello.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
    let lines = format!("\0AUTH EXTERNAL {uid}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
    [lines.as_bytes(), &Call::of_broker("Hello", Body::Nothing).to_bytes(HELLO)].concat()
}

/// A message with the fields of its header.
fn message(kind: u8, serial: u32, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("the tests send little").to_le_bytes();
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend([len(body), serial.to_le_bytes(), len(fields)].concat());
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

/// The call that is answered, and the sender.
fn fields_of(header: &[u8]) -> (u32, String) {
    let (mut answers, mut sender, mut at) = (0, String::new(), 16);
    while at + 4 < header.len() {
        let (field, is_signature) = (header[at], header[at + 2] == b'g');
        let value = at + 4; // field, a signature of one letter with its length and its end
        let len = if is_signature { usize::from(header[value]) } else { number_at(header, value) as usize };
        let end = match header[at + 2] {
            b'u' => value + 4,
            b'g' => value + 1 + len + 1,
            _ => value + 4 + len + 1,
        };
        match field {
            ANSWERS => answers = number_at(header, value),
            SENDER => sender = String::from_utf8_lossy(&header[value + 4..end - 1]).into_owned(),
            _ => {}
        }
        at = end.next_multiple_of(8);
    }
    (answers, sender)
}

fn put_field(fields: &mut Vec<u8>, field: u8, kind: &str, value: &str) {
    pad(fields, 8);
    fields.extend([field, 1, kind.as_bytes()[0], 0]);
    fields.extend(string(value));
}

fn put_signature(fields: &mut Vec<u8>, value: &str) {
    pad(fields, 8);
    fields.extend([SIGNATURE, 1, b'g', 0, u8::try_from(value.len()).expect("it is short")]);
    fields.extend(value.as_bytes());
    fields.push(0);
}

fn put_number(fields: &mut Vec<u8>, field: u8, value: u32) {
    pad(fields, 8);
    fields.extend([field, 1, b'u', 0]);
    fields.extend(value.to_le_bytes());
}

fn string(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("the tests send little");
    [&len.to_le_bytes()[..], text.as_bytes(), b"\0"].concat()
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    let four: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(four)
}

/// The name of the broker, and of the interface of most of its methods.
const BROKER: &str = "org.freedesktop.DBus";
/// The number of the hello.
const HELLO: u32 = 1;
/// The kind of a call.
pub const CALL: u8 = 1;
const RESULT: u8 = 2;
const ERROR: u8 = 3;
// The fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ANSWERS: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
const DESCRIPTORS: u8 = 9;
