//! Speech: a line for each message to a peer.

use std::io::Write as _;

use ipc_protocol::{
    Cancel, Credit, End, ErrorCode, FieldTag, Goodbye, Identity, Streams,
    wire::{Call, Element, Event, Failure, Message},
};

use super::{
    Desk, body,
    body::write_text,
    desk::{Asked, Place},
};

/// Appends a message. One that this dialect has no words for is left out.
pub(in crate::front) fn encode<F>(message: &Message<F>, desk: &Desk, out: &mut Vec<u8>) {
    match message {
        Message::Reply(reply) => answer(desk.asked(reply.id), out, |_, out| {
            out.extend_from_slice(b",\"result\":");
            body::write(reply.encoding, &reply.body, out);
        }),
        Message::Error(failure) => answer(desk.asked(failure.id), out, |asked, out| {
            out.extend_from_slice(b",\"error\":");
            write_failure(failure, asked.is_garbled, out);
        }),
        Message::Call(call) => write_call(call, out),
        Message::Event(event) => notify("event", out, |out| write_event(event, out)),
        Message::Gap(gap) => {
            notify("gap", out, |out| put(out, format_args!("\"subscription\":{},\"lost\":{}", gap.id, gap.lost)));
        }
        Message::Item(item) => write_item(item, desk, out),
        Message::Credit(credit) => write_credit(*credit, desk, out),
        Message::End(end) => notify("end", out, |out| write_end(end, out)),
        Message::Cancel(cancel) => notify("cancel", out, |out| write_cancel(*cancel, out)),
        Message::Goodbye(goodbye) => notify("goodbye", out, |out| write_goodbye(goodbye, out)),
        _ => {}
    }
}

/// An answer, alone or in its place in a batch. A notification has none.
fn answer(asked: Option<&Asked>, out: &mut Vec<u8>, content: impl FnOnce(&Asked, &mut Vec<u8>)) {
    let Some(asked) = asked else { return };
    let (before, behind): (&[u8], &[u8]) = match asked.place {
        Place::Alone | Place::Waiting(_) => (b"", b"\n"),
        Place::Listed { is_first: true, is_last: true } => (b"[", b"]\n"),
        Place::Listed { is_first: true, is_last: false } => (b"[", b""),
        Place::Listed { is_first: false, is_last: false } => (b",", b""),
        Place::Listed { is_first: false, is_last: true } => (b",", b"]\n"),
    };
    out.extend_from_slice(before);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(&asked.id);
    content(asked, out);
    out.push(b'}');
    out.extend_from_slice(behind);
}

fn notify(name: &str, out: &mut Vec<u8>, params: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"$/");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"params\":{");
    params(out);
    out.extend_from_slice(b"}}\n");
}

/// `{"code":...,"message":...,"data":{"name":...,"retry":...}}`.
fn write_failure<F>(failure: &Failure<F>, is_garbled: bool, out: &mut Vec<u8>) {
    let row = failure.code.row();
    let number = if is_garbled { PARSE_ERROR } else { row.and_then(|row| row.json_rpc).unwrap_or(INTERNAL_ERROR) };
    put(out, format_args!("{{\"code\":{number},\"message\":"));
    match failure.text.is_empty() {
        true => write_text(row.map_or("", |row| row.sentence), out),
        false => write_text(&failure.text, out),
    }
    put(out, format_args!(",\"data\":{{\"name\":\"{}\",\"retry\":\"{}\"", failure.code, failure.retry));
    if failure.app_code != 0 {
        put(out, format_args!(",\"code\":{}", failure.app_code));
    }
    if let Some(items) = failure.delivered {
        put(out, format_args!(",\"delivered\":{items}"));
    }
    if !failure.body.is_empty() {
        out.extend_from_slice(b",\"value\":");
        body::write(failure.encoding, &failure.body, out);
    }
    out.extend_from_slice(b"}}");
}

fn write_call<F>(call: &Call<F>, out: &mut Vec<u8>) {
    // A text: programs that read numbers as floating point would garble it. A one-way call has it, too: its answer frees its place.
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":\"");
    put_number(call.id, out);
    out.push(b'"');
    out.extend_from_slice(b",\"method\":\"$/call\",\"params\":{\"service\":\"");
    out.extend_from_slice(call.routing.service());
    out.extend_from_slice(b"\",\"method\":\"");
    out.extend_from_slice(call.routing.method());
    out.push(b'"');
    if !call.body.is_empty() {
        out.extend_from_slice(b",\"params\":");
        body::write(call.encoding, &call.body, out);
    }
    out.extend_from_slice(b",\"caller\":");
    write_stamp(&call.caller, out);
    out.extend_from_slice(b",\"timeout_ms\":");
    put_number(call.timeout_ms.into(), out);
    write_trace(call.routing.text(FieldTag::TRACE), out);
    if call.one_way {
        out.extend_from_slice(b",\"one_way\":true");
    }
    match call.streams {
        Streams { request: false, reply: false } => {}
        Streams { request: true, reply: false } => out.extend_from_slice(b",\"stream\":\"request\""),
        Streams { request: false, reply: true } => out.extend_from_slice(b",\"stream\":\"reply\""),
        Streams { request: true, reply: true } => out.extend_from_slice(b",\"stream\":\"both\""),
    }
    out.extend_from_slice(b"}}\n");
}

fn write_event<F>(event: &Event<F>, out: &mut Vec<u8>) {
    put(out, format_args!("\"subscription\":{},\"topic\":\"{}\",\"body\":", event.id, event.topic()));
    body::write(event.encoding, &event.body, out);
    if event.retained {
        out.extend_from_slice(b",\"retained\":true");
    }
    if let Some(sequence) = event.sequence() {
        put(out, format_args!(",\"sequence\":{sequence}"));
    }
    if let Some(value) = event.routing.field(FieldTag::CALLER) {
        out.extend_from_slice(b",\"publisher\":");
        let len = event.routing.raw().len().min(FIELD + value.len()); // the stamp is the first field
        write_stamp(event.routing.raw().get(..len).unwrap_or_default(), out);
    }
    write_trace(event.routing.text(FieldTag::TRACE), out);
}

fn write_item<F>(item: &Element<F>, desk: &Desk, out: &mut Vec<u8>) {
    if !item.delivered && desk.asked(item.id).is_none() {
        return; // its call has been answered
    }
    notify("item", out, |out| {
        write_id(item.id, item.delivered, desk, out);
        out.extend_from_slice(b",\"item\":");
        body::write(item.encoding, &item.body, out);
    });
}

fn write_credit(credit: Credit, desk: &Desk, out: &mut Vec<u8>) {
    if !credit.delivered && desk.asked(credit.id).is_none() {
        return;
    }
    notify("credit", out, |out| {
        write_id(credit.id, credit.delivered, desk, out);
        put(out, format_args!(",\"items\":{},\"bytes\":{}", credit.items, credit.bytes));
    });
}

fn write_end(end: &End, out: &mut Vec<u8>) {
    put(out, format_args!("\"call\":\"{}\"", end.id));
    if let Some(code) = end.error {
        let failure =
            Failure::<ipc_protocol::NoFd> { app_code: end.app_code, ..Failure::new(end.id, code, end.text.clone()) };
        out.extend_from_slice(b",\"error\":");
        write_failure(&failure, false, out);
    }
}

fn write_cancel(cancel: Cancel, out: &mut Vec<u8>) {
    put(out, format_args!("\"call\":\"{}\",\"reason\":\"{}\"", cancel.id, cancel.reason));
    if let Some(items) = cancel.delivered {
        put(out, format_args!(",\"delivered\":{items}"));
    }
}

fn write_goodbye(goodbye: &Goodbye, out: &mut Vec<u8>) {
    put(out, format_args!("\"name\":\"{}\",\"message\":", goodbye.code));
    write_text(&goodbye.text, out);
}

/// The call of an item or a credit: the peer's own by its id, a delivered one by the broker's.
fn write_id(id: u64, delivered: bool, desk: &Desk, out: &mut Vec<u8>) {
    match desk.asked(id).filter(|_| !delivered) {
        Some(asked) => {
            out.extend_from_slice(b"\"id\":");
            out.extend_from_slice(&asked.id);
        }
        None => put(out, format_args!("\"call\":\"{id}\"")),
    }
}

fn write_stamp(stamp: &[u8], out: &mut Vec<u8>) {
    let Ok((identity, peer)) = Identity::from_stamp(stamp) else {
        return out.extend_from_slice(b"null");
    };
    out.extend_from_slice(b"{\"uid\":");
    put_number(identity.uid.into(), out);
    out.extend_from_slice(b",\"gid\":");
    put_number(identity.gid.into(), out);
    if let Some(pid) = identity.pid {
        out.extend_from_slice(b",\"pid\":");
        put_number(pid.into(), out);
    }
    if let Some(peer) = peer {
        out.extend_from_slice(b",\"peer\":");
        put_number(peer.0, out);
    }
    out.push(b'}');
}

fn write_trace(trace: Option<&str>, out: &mut Vec<u8>) {
    if let Some(trace) = trace {
        out.extend_from_slice(b",\"trace\":");
        write_text(trace, out);
    }
}

/// As `put` does, in a fraction of its time: a delivered call has six of them.
fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20); // 2^64 has twenty
    loop {
        at -= 1;
        if let Some(place) = digits.get_mut(at) {
            *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        }
        number /= 10;
        if number == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text); // memory takes every byte
}

/// Bytes of a routing field before its value.
const FIELD: usize = 3;
/// The error of what is no JSON at all.
const PARSE_ERROR: i32 = -32_700;
/// That of an error which this version has no number for.
const INTERNAL_ERROR: i32 = -32_603;
const _: () = assert!(ErrorCode::INTERNAL.0 == 10);
