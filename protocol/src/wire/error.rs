//! The error table: one row for each error, used for the wire number, the name, the exit code, JSON-RPC, the docs and `ipcctl help errors`.

use std::fmt;

/// Whether the request behind an error may have run, as far as the code alone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MayHaveRun {
    /// It ran, or at least began to.
    Yes,
    /// It never reached a service.
    No,
    /// It can't be told.
    Unknown,
}

impl fmt::Display for MayHaveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

/// Whether a caller may send the same request again without running it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// The request has not run: no service acted on it.
    Safe,
    /// The request may have run: sending it again may run it twice.
    Unknown,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "safe",
            Self::Unknown => "unknown",
        })
    }
}

/// One row of the error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErrorRow {
    /// The number on the wire; never reused.
    pub code: ErrorCode,
    /// The name, as errors print it.
    pub name: &'static str,
    /// Exit code of `ipcctl`.
    pub exit: u8,
    /// JSON-RPC 2.0 error code, where the error can reach a JSON-RPC caller.
    pub json_rpc: Option<i32>,
    /// Whether the request may have run.
    pub may_have_run: MayHaveRun,
    /// What happened, in a sentence.
    pub sentence: &'static str,
}

macro_rules! error_codes {
    ($($konst:ident = $number:literal, $name:literal, exit $exit:literal, json_rpc $rpc:expr, ran $ran:ident, $sentence:literal;)*) => {
        impl ErrorCode {
            $(#[doc = concat!("`", $name, "`: ", $sentence, ".")] pub const $konst: Self = Self($number);)*
        }

        /// Every error, in the order of the documentation.
        pub const ERROR_TABLE: &[ErrorRow] = &[$(ErrorRow {
            code: ErrorCode::$konst, name: $name, exit: $exit, json_rpc: $rpc, may_have_run: MayHaveRun::$ran, sentence: $sentence,
        },)*];
    };
}

/// The number of an error on the wire. An unknown number survives decoding and prints in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub u16);

error_codes! {
    APP_ERROR = 1, "app_error", exit 1, json_rpc Some(-32000), ran Yes, "the service ran the call and returned an error of its own";
    USAGE = 2, "usage", exit 2, json_rpc Some(-32600), ran No, "the command or the request is malformed";
    INVALID = 3, "invalid", exit 65, json_rpc Some(-32602), ran No, "a name or the payload is not valid";
    UNSUPPORTED_ENCODING = 4, "unsupported_encoding", exit 65, json_rpc Some(-32009), ran No,
        "the service does not take this encoding";
    TOO_LARGE = 5, "too_large", exit 65, json_rpc Some(-32005), ran No, "the body is over the limit";
    NO_INPUT = 6, "no_input", exit 66, json_rpc None, ran No, "a file named on the command line cannot be read";
    NO_METHOD = 7, "no_method", exit 67, json_rpc Some(-32601), ran No, "the service has no such method";
    NO_SERVICE = 8, "no_service", exit 68, json_rpc Some(-32001), ran No, "no process offers this name";
    UNAVAILABLE = 9, "unavailable", exit 69, json_rpc None, ran No, "no broker answers at the address";
    INTERNAL = 10, "internal", exit 70, json_rpc Some(-32603), ran Yes, "the service's handler panicked or was killed";
    ACTIVATION_FAILED = 11, "activation_failed", exit 71, json_rpc Some(-32008), ran No, "the service could not be started";
    NAME_TAKEN = 20, "name_taken", exit 73, json_rpc Some(-32011), ran No, "another process holds the name";
    SERVICE_GONE = 12, "service_gone", exit 74, json_rpc Some(-32002), ran Unknown, "the service died before it answered";
    BROKER_LOST = 13, "broker_lost", exit 74, json_rpc Some(-32010), ran Unknown, "the broker went away before the answer came";
    BUSY = 14, "busy", exit 75, json_rpc Some(-32004), ran No, "a queue or quota is full";
    PROTOCOL = 15, "protocol", exit 76, json_rpc Some(-32007), ran No, "one side broke the protocol";
    DENIED = 16, "denied", exit 77, json_rpc Some(-32006), ran No, "the caller may not do this";
    CONFIG = 17, "config", exit 78, json_rpc None, ran No, "the configuration is wrong";
    DEADLINE = 18, "deadline", exit 124, json_rpc Some(-32003), ran Unknown, "the deadline passed before the answer came";
    CANCELLED = 19, "cancelled", exit 130, json_rpc Some(-32800), ran Unknown, "the caller cancelled the call";
}

impl ErrorCode {
    /// The row of this code, or `None` for a number that this version doesn't know.
    #[must_use]
    pub fn row(self) -> Option<&'static ErrorRow> {
        ERROR_TABLE.iter().find(|row| row.code == self)
    }

    /// The code of a name in the table.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ERROR_TABLE.iter().find(|row| row.name == name).map(|row| row.code)
    }

    /// Exit code of `ipcctl` for this error (70, internal, for an unknown number).
    #[must_use]
    pub fn exit(self) -> u8 {
        self.row().map_or(70, |row| row.exit)
    }

    /// Whether a retry is safe as far as the code alone tells; a frame's `RETRY_SAFE` flag says it for the single call.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self.row().map(|row| row.may_have_run) {
            Some(MayHaveRun::No) => Retry::Safe,
            Some(MayHaveRun::Yes | MayHaveRun::Unknown) | None => Retry::Unknown,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => f.write_str(row.name),
            None => write!(f, "error {:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        assert_eq!(ERROR_TABLE.iter().map(|r| r.code).collect::<HashSet<_>>().len(), ERROR_TABLE.len());
        assert_eq!(ERROR_TABLE.iter().map(|r| r.name).collect::<HashSet<_>>().len(), ERROR_TABLE.len());
    }

    #[test]
    fn only_requests_that_did_not_run_are_safe_to_retry() {
        assert_eq!(ErrorCode::BUSY.retry(), Retry::Safe);
        assert_eq!(ErrorCode::SERVICE_GONE.retry(), Retry::Unknown);
        assert_eq!(ErrorCode(999).retry(), Retry::Unknown);
        assert_eq!(ErrorCode(999).to_string(), "error 0x3e7");
    }
}
