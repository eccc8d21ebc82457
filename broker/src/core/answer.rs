//! Answers of the broker's own service: JSON, with the caller's number for the call.

use ipc_protocol::{
    Encoding, json,
    wire::{Call, Message, Reply},
};
use serde::{Serialize, de::DeserializeOwned};

use super::refusal::Refusal;

/// A successful answer.
pub(crate) fn reply<T: Serialize, F>(id: u64, value: &T) -> Message<F> {
    Message::Reply(Reply { id, encoding: Encoding::JSON, body: encode(value).into() })
}

/// The body of a successful answer.
///
/// # Panics
/// Never, for the types of [`ipc_protocol::control`]. What JSON refuses is a map whose keys aren't texts, and a type whose own
/// `Serialize` fails; they have neither, and memory takes every byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    json::encode(value).expect("answers are structs of texts, numbers and lists")
}

/// The request in a call of the broker's service.
pub(crate) fn parse<T: DeserializeOwned, F>(call: &Call<F>) -> Result<T, Refusal> {
    match call.encoding {
        Encoding::JSON | Encoding::BYTES => {
            json::decode_object(&call.body).map_err(|error| Refusal::Invalid(error.to_string()))
        }
        _ => Err(Refusal::NotJson),
    }
}
