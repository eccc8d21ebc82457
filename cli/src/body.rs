//! The body of a call, from the arguments after the target.
//!
//! ```text
//! key=string  key:=json  key@file      members of one JSON object, any number of them
//! -           standard input           \
//! @file       a file                    > exactly one of these
//! anything    its own bytes            /
//! ```

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use clap::ValueEnum;
use ipc_client::{Encoding, ErrorCode};

use crate::{
    escape::short,
    input, json,
    problem::{Problem, Result},
};

/// How an argument is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// By the grammar above.
    Grammar,
    /// As its own bytes, whatever it looks like (`--raw`).
    Raw,
}

/// An encoding that the shell can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncodingName {
    Bincode,
    Bytes,
    Json,
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Self {
        match name {
            // Written as JSON, and turned into bincode once the types are known.
            EncodingName::Bincode | EncodingName::Json => Self::JSON,
            EncodingName::Bytes => Self::BYTES,
        }
    }
}

/// Where a body comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere: it is empty.
    Nothing,
    /// From the command line.
    Literal(Vec<u8>),
    /// From standard input.
    Stdin,
    /// From a file.
    File(PathBuf),
    /// From members of a JSON object.
    Object(Vec<Member>),
}

/// A member of a JSON object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    key: String,
    value: Value,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(OsString),
    Json(OsString),
    File(PathBuf),
}

/// A body ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// How it is encoded.
    pub(crate) encoding: Encoding,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// The size of a body and what it is, for people.
pub(crate) fn display(len: usize, encoding: Encoding) -> String {
    match (len, encoding) {
        (0, _) => "an empty body".to_owned(),
        (1, Encoding::BYTES) => "1 byte".to_owned(),
        (_, Encoding::BYTES) => format!("{len} bytes"),
        (1, _) => format!("1 byte of {encoding}"),
        (..) => format!("{len} bytes of {encoding}"),
    }
}

impl Source {
    /// Reads the arguments of a call to `target`. Touches no file.
    pub(crate) fn parse(args: Vec<OsString>, reading: Reading, target: &str) -> Result<Self> {
        let mut args = args.into_iter();
        let Some(first) = args.next() else { return Ok(Self::Nothing) };
        let rest: Vec<OsString> = args.collect();
        match reading {
            Reading::Raw if rest.is_empty() => Ok(Self::Literal(first.into_vec())),
            Reading::Raw => Err(Problem::usage(target, format!("--raw takes one ARG, {} were given", rest.len() + 1))),
            Reading::Grammar if rest.is_empty() && Member::parse(&first).is_none() => Ok(Self::single(first)),
            Reading::Grammar => Self::object(std::iter::once(first).chain(rest), target),
        }
    }

    /// Whether its fields are named on the command line.
    pub(crate) fn has_fields(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// A member that is a string and looks like a number: `a=1`, where `a:=1` may be meant.
    pub(crate) fn numeral(&self) -> Option<String> {
        let Self::Object(members) = self else { return None };
        members.iter().find_map(Member::numeral)
    }

    fn single(arg: OsString) -> Self {
        match arg.as_bytes() {
            b"-" => Self::Stdin,
            [b'@', path @ ..] if !path.is_empty() => Self::File(PathBuf::from(OsStr::from_bytes(path))),
            _ => Self::Literal(arg.into_vec()),
        }
    }

    fn object(args: impl Iterator<Item = OsString>, target: &str) -> Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        for arg in args {
            let Some(member) = Member::parse(&arg) else {
                let message =
                    format!("{:?} is not of the form key=string, key:=json or key@file", short(&arg.to_string_lossy()));
                return Err(Problem::usage(target, message)
                    .hint("several ARGs build one JSON object; anything else is one ARG: quote it"));
            };
            if members.iter().any(|earlier| earlier.key == member.key) {
                return Err(Problem::usage(target, format!("the key '{}' is given twice", member.key)));
            }
            members.push(member);
        }
        Ok(Self::Object(members))
    }

    /// Reads standard input or files, and builds the body. `encoding` overrides the one that follows from the form.
    pub(crate) fn read(self, encoding: Option<Encoding>, target: &str) -> Result<Body> {
        let natural = if matches!(self, Self::Object(_)) { Encoding::JSON } else { Encoding::BYTES };
        let bytes = match self {
            Self::Nothing => Vec::new(),
            Self::Literal(bytes) => bytes,
            Self::Stdin => input::stdin(target)?,
            Self::File(path) => input::file(&path, target)?,
            Self::Object(members) => object(members, target)?,
        };
        if bytes.len() > input::LIMIT {
            return Err(input::too_large(target, "the body"));
        }
        let encoding = encoding.unwrap_or(natural);
        if encoding == Encoding::JSON && natural != Encoding::JSON {
            json::check(&bytes)
                .map_err(|error| Problem::new(ErrorCode::INVALID, target, format!("the body is not JSON: {error}")))?;
        }
        Ok(Body { encoding, bytes })
    }
}

impl Member {
    /// `key=string`, `key:=json` or `key@file`, where the key is `[A-Za-z_][A-Za-z0-9_-]*`.
    fn parse(arg: &OsStr) -> Option<Self> {
        let bytes = arg.as_bytes();
        let end = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-'))?;
        let (key, rest) = bytes.split_at(end);
        if !matches!(key.first(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'_')) {
            return None;
        }
        let value = match rest {
            [b'=', text @ ..] => Value::Text(OsStr::from_bytes(text).to_owned()),
            [b':', b'=', json @ ..] => Value::Json(OsStr::from_bytes(json).to_owned()),
            [b'@', path @ ..] => Value::File(PathBuf::from(OsStr::from_bytes(path))),
            _ => return None,
        };
        Some(Self { key: String::from_utf8_lossy(key).into_owned(), value })
    }

    /// `key:=value` for a text that is no string in JSON, such as `1` or `true`.
    fn numeral(&self) -> Option<String> {
        let Value::Text(text) = &self.value else { return None };
        let text = text.to_str().filter(|text| !text.starts_with(['"', '[', '{']))?;
        json::check(text.as_bytes()).ok().map(|()| format!("{}:={text}", self.key))
    }

    /// The member as JSON text. A JSON value goes in as it was typed: parsing it would change numbers beyond f64.
    fn write(self, out: &mut Vec<u8>, target: &str) -> Result<()> {
        let Self { key, value } = self;
        out.extend_from_slice(format!("\"{key}\":").as_bytes());
        match value {
            Value::Text(text) => {
                let text = text.into_string().map_err(|_| {
                    Problem::usage(target, format!("the value of '{key}' is not UTF-8, which JSON strings are made of"))
                })?;
                push_string(out, &text);
            }
            Value::Json(typed) => {
                let text = typed.as_bytes().trim_ascii();
                json::check(text).map_err(|error| {
                    Problem::usage(target, format!("the value of '{key}' is not JSON: {error}"))
                        .hint("a string is written key=string")
                })?;
                out.extend_from_slice(text);
            }
            Value::File(path) if path.as_os_str().is_empty() => {
                return Err(Problem::usage(target, format!("'{key}@' names no file")));
            }
            Value::File(path) => {
                let text = String::from_utf8(input::file(&path, target)?).map_err(|_| {
                    let message = format!("{} is not UTF-8, which JSON strings are made of", path.display());
                    Problem::new(ErrorCode::INVALID, target, message)
                })?;
                push_string(out, &text);
            }
        }
        Ok(())
    }
}

fn object(members: Vec<Member>, target: &str) -> Result<Vec<u8>> {
    let mut json = vec![b'{'];
    for (index, member) in members.into_iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        member.write(&mut json, target)?;
    }
    json.push(b'}');
    Ok(json)
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always serializes, and a Vec takes every byte");
}

#[cfg(test)]
mod tests;
