use std::io::Write;

use super::*;
use crate::exit::Exit;

fn parse(args: &[&str]) -> Result<Source> {
    Source::parse(args.iter().map(OsString::from).collect(), Reading::Grammar, "t")
}

fn read(args: &[&str]) -> Result<(Encoding, String)> {
    let body = parse(args)?.read(None, "t")?;
    Ok((body.encoding, String::from_utf8(body.bytes).unwrap()))
}

fn literal(text: &str) -> Source {
    Source::Literal(text.into())
}

#[test]
fn no_argument_is_an_empty_body() {
    assert_eq!(read(&[]).unwrap(), (Encoding::BYTES, String::new()));
}

#[test]
fn one_argument_is_its_own_bytes() {
    assert_eq!(parse(&["hello"]).unwrap(), literal("hello"));
    assert_eq!(parse(&[r#"{"a":1,"b":2}"#]).unwrap(), literal(r#"{"a":1,"b":2}"#));
    assert_eq!(parse(&[""]).unwrap(), literal(""));
    assert_eq!(parse(&["@"]).unwrap(), literal("@"));
}

#[test]
fn text_that_only_resembles_a_member_is_its_own_bytes() {
    assert_eq!(parse(&["hello world=x"]).unwrap(), literal("hello world=x"));
    assert_eq!(parse(&["http://host/?a=b"]).unwrap(), literal("http://host/?a=b"));
    assert_eq!(parse(&["1=2"]).unwrap(), literal("1=2"));
    assert_eq!(parse(&["=x"]).unwrap(), literal("=x"));
    assert_eq!(parse(&["a:b=c"]).unwrap(), literal("a:b=c"));
    assert_eq!(parse(&["é=x"]).unwrap(), literal("é=x"));
}

#[test]
fn dash_and_at_name_standard_input_and_a_file() {
    assert_eq!(parse(&["-"]).unwrap(), Source::Stdin);
    assert_eq!(parse(&["@a b"]).unwrap(), Source::File("a b".into()));
}

#[test]
fn members_build_an_object_in_the_order_typed() {
    let (encoding, body) = read(&["b:=2", "a=x\"y", "_c-1:= [1, 2]", "d="]).unwrap();
    assert_eq!(encoding, Encoding::JSON);
    assert_eq!(body, r#"{"b":2,"a":"x\"y","_c-1":[1, 2],"d":""}"#);
}

#[test]
fn the_first_sign_decides_the_form() {
    assert_eq!(read(&["a==b"]).unwrap().1, r#"{"a":"=b"}"#);
    assert_eq!(read(&["a=b:=c@d"]).unwrap().1, r#"{"a":"b:=c@d"}"#);
}

#[test]
fn numbers_are_not_touched() {
    let typed = "12345678901234567890123456789.10";
    assert_eq!(read(&[&format!("n:={typed}")]).unwrap().1, format!("{{\"n\":{typed}}}"));
    assert_eq!(read(&["n:=1e999"]).unwrap().1, r#"{"n":1e999}"#);
}

#[test]
fn a_file_becomes_a_string() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\n\"two\"").unwrap();
    let member = format!("text@{}", file.path().display());
    assert_eq!(read(&[&member]).unwrap().1, r#"{"text":"one\n\"two\""}"#);
}

#[test]
fn a_file_that_is_not_text_is_invalid() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"\xff").unwrap();
    let member = format!("text@{}", file.path().display());
    assert_eq!(read(&[&member]).unwrap_err().exit(), Exit::Code(65));
}

#[test]
fn an_argument_that_does_not_fit_in_is_named() {
    let problem = parse(&["a=1", "b"]).unwrap_err();
    assert_eq!(problem.exit(), Exit::Code(2));
    assert!(format!("{problem:?}").contains(r#""b" is not of the form"#));
    assert_eq!(parse(&["-", "a=1"]).unwrap_err().exit(), Exit::Code(2));
    assert_eq!(parse(&["one", "two"]).unwrap_err().exit(), Exit::Code(2));
}

#[test]
fn a_key_given_twice_is_refused() {
    assert_eq!(parse(&["a=1", "a:=1"]).unwrap_err().exit(), Exit::Code(2));
}

#[test]
fn a_value_that_is_not_json_is_refused() {
    assert_eq!(read(&["a:=x"]).unwrap_err().exit(), Exit::Code(2));
    assert_eq!(read(&["a:="]).unwrap_err().exit(), Exit::Code(2));
    assert_eq!(read(&["a:=1,\"b\":2"]).unwrap_err().exit(), Exit::Code(2));
}

#[test]
fn a_value_that_is_not_utf8_is_refused() {
    let arg = OsString::from_vec(b"a=\xff".to_vec());
    let source = Source::parse(vec![arg], Reading::Grammar, "t").unwrap();
    assert_eq!(source.read(None, "t").unwrap_err().exit(), Exit::Code(2));
}

#[test]
fn bytes_that_are_not_utf8_go_as_they_are() {
    let arg = OsString::from_vec(b"\xff\xfe".to_vec());
    assert_eq!(Source::parse(vec![arg], Reading::Grammar, "t").unwrap(), Source::Literal(b"\xff\xfe".to_vec()));
}

#[test]
fn raw_takes_everything_as_it_is() {
    let raw = |args: &[&str]| Source::parse(args.iter().map(OsString::from).collect(), Reading::Raw, "t");
    assert_eq!(raw(&["a=b"]).unwrap(), literal("a=b"));
    assert_eq!(raw(&["-"]).unwrap(), literal("-"));
    assert_eq!(raw(&["@x"]).unwrap(), literal("@x"));
    assert_eq!(raw(&["a", "b"]).unwrap_err().exit(), Exit::Code(2));
}

#[test]
fn the_encoding_can_be_said() {
    let body = literal("[1]").read(Some(Encoding::JSON), "t").unwrap();
    assert_eq!(body, Body { encoding: Encoding::JSON, bytes: b"[1]".to_vec() });
    assert_eq!(literal("nope").read(Some(Encoding::JSON), "t").unwrap_err().exit(), Exit::Code(65));
    assert_eq!(parse(&["a=1"]).unwrap().read(Some(Encoding::BYTES), "t").unwrap().encoding, Encoding::BYTES);
}

#[test]
fn a_body_over_the_limit_is_not_sent() {
    let fits = literal(&"x".repeat(input::LIMIT));
    assert!(fits.read(None, "t").is_ok());
    let over = literal(&"x".repeat(input::LIMIT + 1));
    assert_eq!(over.read(None, "t").unwrap_err().exit(), Exit::Code(65));
}
