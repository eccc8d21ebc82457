//! What to do about an error: the words in parentheses at the end of the error line. Made from the error's code and its retry answer
//! alone.

use std::{error::Error as _, io};

use ipc_client::{Error, ErrorCode, Retry};

/// Whether a call that ended with `error` may have run. Empty where the service itself has said how it ran.
pub(crate) fn ran(error: &Error) -> &'static str {
    match (error.code(), error.retry()) {
        (ErrorCode::APP_ERROR, _) => "",
        (_, Retry::Safe) => "it has not run",
        (_, Retry::Unknown) => "it may have run",
    }
}

/// What the user can do.
pub(crate) fn way_out(subject: &str, error: &Error) -> String {
    let words = match error.code() {
        ErrorCode::APP_ERROR if error.app_code() != 0 => {
            return format!("the service's own code is {}", error.app_code());
        }
        ErrorCode::NO_METHOD | ErrorCode::NO_SERVICE if subject.starts_with('@') => "see 'ipcctl peers'",
        ErrorCode::NO_METHOD => {
            let service = subject.rsplit_once('.').map_or(subject, |(service, _)| service);
            return format!("see 'ipcctl show {service}'");
        }
        ErrorCode::NO_SERVICE => "see 'ipcctl list'",
        ErrorCode::UNAVAILABLE => unavailable(error),
        ErrorCode::BUSY => "try again later",
        ErrorCode::DEADLINE => "-t sets how long the caller waits",
        _ => "", // codes are numbers of an open set; the sentence says all there is
    };
    words.to_owned()
}

/// What connect(2) said tells whether there is a broker at all.
fn unavailable(error: &Error) -> &'static str {
    match error.source().and_then(|source| source.downcast_ref()).map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            "start one with 'ipcd', name its socket with -s, or run the command under 'ipcctl run -- CMD'"
        }
        Some(io::ErrorKind::TimedOut) => "is it stopped, or overloaded?",
        _ => "",
    }
}

/// Both in one.
pub(crate) fn joined(ran: &str, way_out: &str) -> String {
    match (ran, way_out) {
        ("", words) | (words, "") => words.to_owned(),
        (ran, way_out) => format!("{ran}; {way_out}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retry_answer_decides_whether_it_may_have_run() {
        assert_eq!(ran(&Error::new(ErrorCode::BUSY, "")), "it has not run");
        assert_eq!(ran(&Error::new(ErrorCode::SERVICE_GONE, "")), "it may have run");
        assert_eq!(ran(&Error::new(ErrorCode::SERVICE_GONE, "").with_retry(Retry::Safe)), "it has not run");
        assert_eq!(ran(&Error::new(ErrorCode::APP_ERROR, "")), "");
    }

    #[test]
    fn a_peer_is_looked_for_among_the_peers() {
        assert_eq!(way_out("@7.x", &Error::new(ErrorCode::NO_SERVICE, "")), "see 'ipcctl peers'");
        assert_eq!(way_out("a", &Error::new(ErrorCode::NO_SERVICE, "")), "see 'ipcctl list'");
    }

    #[test]
    fn the_methods_of_a_service_are_shown_by_its_name() {
        assert_eq!(way_out("a.b.c", &Error::new(ErrorCode::NO_METHOD, "")), "see 'ipcctl show a.b'");
        assert_eq!(way_out("a", &Error::new(ErrorCode::NO_METHOD, "")), "see 'ipcctl show a'");
    }

    #[test]
    fn two_hints_are_one_line() {
        assert_eq!(joined("it has not run", "try again"), "it has not run; try again");
        assert_eq!(joined("", "try again"), "try again");
        assert_eq!(joined("it has not run", ""), "it has not run");
    }
}
