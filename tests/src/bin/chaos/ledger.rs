//! What services and callers write down: records of fixed size, appended with one write each, so that a kill tears none.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use ipc_client::{ErrorCode, Retry};

use crate::{clock, place::Place, work::Kind};

/// A call: its caller, which life of it, and the number of the call in that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// One life of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) caller: u8,
    pub(crate) number: u16,
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) id: CallId,
    /// When, in nanoseconds since the machine started.
    pub(crate) at: u64,
    pub(crate) told: Told,
    /// The kind of service that it called.
    pub(crate) kind: u8,
    pub(crate) flaw: Flaw,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// A reply, or an error of the service's own.
    Answered,
    /// The broker took a call that wants no reply.
    Accepted,
    /// The caller did not wait.
    GivenUp,
    Failed(u16, Safety),
}

/// Whether an error calls a retry safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Safety {
    Safe,
    Unknown,
}

/// What is wrong with an end, as the caller itself can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// It came long after the deadline.
    Late,
    /// It is the reply to another call.
    Wrong,
    /// The call had ended before, or there was none.
    Again,
}

/// The calls that one life of a service has run.
#[derive(Debug)]
pub(crate) struct Runs(File);

/// The ends that one life of a caller was told.
#[derive(Debug)]
pub(crate) struct Ends(File);

impl CallId {
    pub(crate) fn new(life: Life, serial: u64) -> Self {
        Self(u64::from(life.caller) << 56 | u64::from(life.number) << 40 | serial)
    }

    pub(crate) fn life(self) -> Life {
        Life { caller: self.0.to_be_bytes()[0], number: u16::try_from(self.0 >> 40 & 0xFFFF).expect("16 bits") }
    }

    /// Its number among the calls of the caller's life, from 0.
    pub(crate) fn serial(self) -> u64 {
        self.0 & 0xFF_FFFF_FFFF
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { caller, number } = self.life();
        write!(f, "call {} of caller {caller}.{number}", self.serial())
    }
}

impl Runs {
    const LEN: usize = 8;

    pub(crate) fn create(place: &Place) -> Self {
        Self(create(place, "runs"))
    }

    /// Writes down a call that runs now.
    pub(crate) fn ran(&self, id: CallId) {
        (&self.0).write_all(&id.0.to_le_bytes()).expect("there is room for the ledger");
    }

    pub(crate) fn read(path: &Path) -> Vec<CallId> {
        let bytes = fs::read(path).expect("it was written");
        bytes.as_chunks::<{ Self::LEN }>().0.iter().map(|bytes| CallId(u64::from_le_bytes(*bytes))).collect()
    }
}

impl Ends {
    const LEN: usize = 24;

    pub(crate) fn create(place: &Place) -> Self {
        Self(create(place, "ends"))
    }

    /// Writes down what was told.
    pub(crate) fn told(&self, ends: &[End]) {
        let bytes: Vec<u8> = ends.iter().flat_map(|end| end.to_bytes()).collect();
        (&self.0).write_all(&bytes).expect("there is room for the ledger");
    }

    /// Writes down that this life has ended by itself, after this number of calls.
    pub(crate) fn finish(&self, life: Life, calls: u64) {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&CallId::new(life, calls).0.to_le_bytes());
        bytes[16] = FINISHED;
        (&self.0).write_all(&bytes).expect("there is room for the ledger");
    }

    /// The ends, and the number of calls if the life has ended by itself.
    pub(crate) fn read(path: &Path) -> (Vec<End>, Option<u64>) {
        let bytes = fs::read(path).expect("it was written");
        let (records, _) = bytes.as_chunks::<{ Self::LEN }>(); // a kill may tear the last batch, which then says less
        let finished = records.iter().find(|record| record[16] == FINISHED).map(|record| End::id_of(record).serial());
        (records.iter().filter(|record| record[16] != FINISHED).map(End::from_bytes).collect(), finished)
    }
}

impl End {
    pub(crate) fn now(id: CallId, told: Told, kind: Kind) -> Self {
        Self { id, at: clock::now(), told, kind: kind.number(), flaw: Flaw::None }
    }

    pub(crate) fn flawed(self, flaw: Flaw) -> Self {
        Self { flaw, ..self }
    }

    fn to_bytes(self) -> [u8; Ends::LEN] {
        let (kind, code) = match self.told {
            Told::Answered => (0, 0),
            Told::Accepted => (1, 0),
            Told::GivenUp => (2, 0),
            Told::Failed(code, Safety::Safe) => (3, code),
            Told::Failed(code, Safety::Unknown) => (4, code),
        };
        let mut bytes = [0; Ends::LEN];
        bytes[..8].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16] = kind;
        bytes[17] = self.flaw as u8;
        bytes[18] = self.kind;
        bytes[20..22].copy_from_slice(&code.to_le_bytes());
        bytes
    }

    fn id_of(bytes: &[u8; Ends::LEN]) -> CallId {
        CallId(u64::from_le_bytes(*bytes.first_chunk().expect("24 bytes")))
    }

    fn from_bytes(bytes: &[u8; Ends::LEN]) -> Self {
        let code = u16::from_le_bytes([bytes[20], bytes[21]]);
        let told = match bytes[16] {
            0 => Told::Answered,
            1 => Told::Accepted,
            2 => Told::GivenUp,
            3 => Told::Failed(code, Safety::Safe),
            _ => Told::Failed(code, Safety::Unknown),
        };
        let flaw = [Flaw::None, Flaw::Late, Flaw::Wrong, Flaw::Again][usize::from(bytes[17])];
        let at = u64::from_le_bytes(*bytes[8..].first_chunk().expect("24 bytes"));
        Self { id: Self::id_of(bytes), at, told, kind: bytes[18], flaw }
    }
}

impl Told {
    pub(crate) fn error(code: ErrorCode, retry: Retry) -> Self {
        match (code, retry) {
            (ErrorCode::APP_ERROR, _) => Self::Answered,
            (code, Retry::Safe) => Self::Failed(code.0, Safety::Safe),
            (code, Retry::Unknown) => Self::Failed(code.0, Safety::Unknown),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Accepted => f.write_str("accepted, no answer wanted"),
            Self::GivenUp => f.write_str("given up"),
            Self::Failed(code, Safety::Safe) => write!(f, "{}, safe to retry", ErrorCode(*code)),
            Self::Failed(code, Safety::Unknown) => write!(f, "{}, unknown", ErrorCode(*code)),
        }
    }
}

fn create(place: &Place, what: &str) -> File {
    let path = place.ledger.join(format!("{what}.{}.{}", place.index, place.life));
    OpenOptions::new().create(true).append(true).open(path).expect("a ledger")
}

/// The kind of a caller's last record.
const FINISHED: u8 = 255;
