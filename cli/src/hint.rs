//! What to do about an error: the words in parentheses at the end of the error line.

use ipc_client::{Error, ErrorCode, Retry};

/// Whether the call of `subject` may have run, and the way out.
pub(crate) fn of(subject: &str, error: &Error) -> String {
    let ran = match (error.code(), error.retry()) {
        // Not about a call at all, or the service itself has said how it ran.
        (
            ErrorCode::USAGE | ErrorCode::NO_INPUT | ErrorCode::CONFIG | ErrorCode::NAME_TAKEN | ErrorCode::APP_ERROR,
            _,
        ) => "",
        (_, _) if error.text().contains(ALREADY_SAID) => "",
        (_, Retry::Safe) => "it has not run",
        (_, Retry::Unknown) => "it may have run",
    };
    let way_out = way_out(subject, error);
    match (ran, way_out.as_str()) {
        ("", way_out) => way_out.to_owned(),
        (ran, "") => ran.to_owned(),
        (ran, way_out) => format!("{ran}; {way_out}"),
    }
}

fn way_out(subject: &str, error: &Error) -> String {
    match error.code() {
        ErrorCode::APP_ERROR if error.app_code() != 0 => format!("the service's own code is {}", error.app_code()),
        ErrorCode::NO_METHOD => "see 'ipcctl show NAME'".to_owned(),
        ErrorCode::NO_SERVICE if subject.starts_with('@') => "see 'ipcctl peers'".to_owned(),
        ErrorCode::NO_SERVICE => "see 'ipcctl list', or wait for it with --wait".to_owned(),
        ErrorCode::BUSY => "try again later".to_owned(),
        ErrorCode::DEADLINE => "-t sets how long the caller waits".to_owned(),
        _ => String::new(), // codes are numbers of an open set; the sentence says all there is
    }
}

/// In texts of the broker that say it themselves.
const ALREADY_SAID: &str = "may have run";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_the_call_may_have_run() {
        assert_eq!(of("a", &Error::new(ErrorCode::BUSY, "")), "it has not run; try again later");
        assert_eq!(of("a", &Error::new(ErrorCode::SERVICE_GONE, "")), "it may have run");
        assert_eq!(of("a", &Error::new(ErrorCode::SERVICE_GONE, "").with_retry(Retry::Safe)), "it has not run");
    }

    #[test]
    fn a_peer_is_looked_for_among_the_peers() {
        assert_eq!(of("@7.x", &Error::new(ErrorCode::NO_SERVICE, "")), "it has not run; see 'ipcctl peers'");
    }

    #[test]
    fn it_says_so_once() {
        assert_eq!(
            of("a", &Error::new(ErrorCode::DEADLINE, "late; the call may have run")),
            "-t sets how long the caller waits"
        );
    }

    #[test]
    fn an_error_of_the_command_line_speaks_of_no_call() {
        assert_eq!(of("a", &Error::new(ErrorCode::USAGE, "")), "");
    }
}
