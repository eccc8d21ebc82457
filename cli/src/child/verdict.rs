//! What the end of a command means for its call.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use bytes::Bytes;
use ipc_client::{Encoding, ErrorCode, Failed, Response, limits::MAX_BODY};
use nix::sys::signal::Signal;

use crate::{
    child::job::{Finished, Stop},
    json,
};

/// How exit codes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCodes {
    /// 1 to 63 are the command's own; some above are rows of the error table.
    Table,
    /// All but 0 are the command's own.
    Plain,
}

/// The answer to a call whose body had the encoding `asked`.
pub(crate) fn of(finished: Finished, asked: Encoding, codes: ExitCodes) -> Result<Response, Failed> {
    match finished.stop {
        Some(stop) => Err(of_stop(stop)),
        None if finished.status.success() => Ok(reply(finished.reply.into(), asked)),
        None => Err(of_exit(finished.status, &finished.complaint, codes)),
    }
}

/// A reply in the encoding of the request. A JSON request gets JSON if the output is one JSON document, else bytes.
pub(crate) fn reply(body: Bytes, asked: Encoding) -> Response {
    let parsed = || json::check(&body);
    let encoding = if asked == Encoding::JSON && parsed().is_ok() { Encoding::JSON } else { Encoding::BYTES };
    Response::new(encoding, body)
}

/// The error of a call whose command we ended.
pub(crate) fn of_stop(stop: Stop) -> Failed {
    match stop {
        Stop::Cancelled => Failed::new(ErrorCode::CANCELLED, "the call was cancelled, and its command ended"),
        Stop::OutOfTime => Failed::new(ErrorCode::DEADLINE, "the command took too long and was ended"),
        Stop::TooMuch => too_large(),
        Stop::Quit => Failed::new(ErrorCode::INTERNAL, "the service was stopped, and its command with it"),
    }
}

/// The reply doesn't fit. Not `too_large`, which says that a retry is safe: the command has run.
pub(crate) fn too_large() -> Failed {
    Failed::new(ErrorCode::INTERNAL, format!("the command wrote more than a reply may hold, {MAX_BODY} bytes"))
}

/// How a command ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(number)) => {
            let name =
                Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string());
            format!("was killed by {name}")
        }
        (None, None) => status.to_string(),
    }
}

fn of_exit(status: ExitStatus, complaint: &str, codes: ExitCodes) -> Failed {
    let or_else = |text: String| if complaint.is_empty() { text } else { complaint.to_owned() };
    let refused = |code| Failed::new(code, or_else(format!("the command {}", describe(status))));
    match status.code().map(u32::try_from) {
        Some(Ok(code)) if codes == ExitCodes::Plain => refused(ErrorCode::APP_ERROR).app_code(code),
        Some(Ok(code @ 1..=63)) => refused(ErrorCode::APP_ERROR).app_code(code),
        Some(Ok(65)) => refused(ErrorCode::INVALID),
        Some(Ok(67)) => refused(ErrorCode::NO_METHOD),
        Some(Ok(75)) => refused(ErrorCode::BUSY),
        Some(Ok(77)) => refused(ErrorCode::DENIED),
        Some(_) | None => {
            let said = if complaint.is_empty() { String::new() } else { format!(": {complaint}") };
            Failed::new(ErrorCode::INTERNAL, format!("the command {}{said}", describe(status)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(wait_status: i32, complaint: &str) -> Finished {
        Finished {
            status: ExitStatus::from_raw(wait_status),
            stop: None,
            reply: b"{}".to_vec(),
            complaint: complaint.to_owned(),
        }
    }

    fn exits(code: i32, complaint: &str) -> Failed {
        of(finished(code << 8, complaint), Encoding::BYTES, ExitCodes::Table).unwrap_err()
    }

    #[test]
    fn success_is_a_reply_in_the_encoding_of_the_request() {
        let reply = |body: &str, asked| {
            let finished = Finished { reply: body.into(), ..finished(0, "") };
            of(finished, asked, ExitCodes::Table).unwrap().encoding
        };
        assert_eq!(reply("{}\n", Encoding::BYTES), Encoding::BYTES);
        assert_eq!(reply("{}\n", Encoding::JSON), Encoding::JSON);
        assert_eq!(reply("{} {}", Encoding::JSON), Encoding::BYTES);
        assert_eq!(reply("", Encoding::JSON), Encoding::BYTES);
    }

    #[test]
    fn the_application_says_no_with_1_to_63() {
        assert_eq!(exits(3, "no such user"), Failed::new(ErrorCode::APP_ERROR, "no such user").app_code(3));
        assert_eq!(exits(63, ""), Failed::new(ErrorCode::APP_ERROR, "the command exited with 63").app_code(63));
    }

    #[test]
    fn plain_codes_are_the_applications_whatever_the_table_says() {
        let exits = |code: i32| of(finished(code << 8, "no"), Encoding::BYTES, ExitCodes::Plain).unwrap_err();
        for code in [1, 64, 65, 77, 127, 255] {
            assert_eq!(exits(code), Failed::new(ErrorCode::APP_ERROR, "no").app_code(code.unsigned_abs()));
        }
        let killed = of(finished(9, ""), Encoding::BYTES, ExitCodes::Plain).unwrap_err();
        assert_eq!(killed, internal("the command was killed by SIGKILL"));
    }

    #[test]
    fn some_codes_are_errors_of_the_table() {
        assert_eq!(exits(65, "bad"), Failed::new(ErrorCode::INVALID, "bad"));
        assert_eq!(exits(67, "what"), Failed::new(ErrorCode::NO_METHOD, "what"));
        assert_eq!(exits(75, "full"), Failed::new(ErrorCode::BUSY, "full"));
        assert_eq!(exits(77, "no"), Failed::new(ErrorCode::DENIED, "no"));
    }

    #[test]
    fn anything_else_is_internal_and_named() {
        assert_eq!(exits(127, "sh: x: not found"), internal("the command exited with 127: sh: x: not found"));
        assert_eq!(exits(64, ""), internal("the command exited with 64"));
        assert_eq!(
            of(finished(9, ""), Encoding::BYTES, ExitCodes::Table),
            Err(internal("the command was killed by SIGKILL"))
        );
        assert_eq!(
            of(finished(34, ""), Encoding::BYTES, ExitCodes::Table),
            Err(internal("the command was killed by signal 34"))
        );
    }

    #[test]
    fn a_command_that_was_ended_gives_the_reason() {
        let stopped =
            |stop| of(Finished { stop: Some(stop), ..finished(0, "") }, Encoding::BYTES, ExitCodes::Table).unwrap_err();
        assert_eq!(stopped(Stop::OutOfTime), of_stop(Stop::OutOfTime));
        assert_eq!(stopped(Stop::TooMuch), too_large());
    }

    fn internal(text: &str) -> Failed {
        Failed::new(ErrorCode::INTERNAL, text)
    }
}
