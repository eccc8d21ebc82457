//! Bodies of typed calls: the only module that names bincode, so that a drop-in replacement is a change of one line.

use std::{any::type_name, marker::PhantomData};

use serde::{
    Serialize,
    de::{DeserializeOwned, DeserializeSeed},
};

use crate::{
    json::{self, JsonError},
    wire::{header::Encoding, limits::MAX_BODY},
};

/// Why a body could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The encoding is not one of this version.
    #[error("encoding {0} is not known (bytes, bincode and json are)")]
    UnknownEncoding(Encoding),
    /// The value cannot be written in this encoding.
    #[error("the value cannot be written as {encoding}: {reason}")]
    Encode {
        /// The encoding asked for.
        encoding: Encoding,
        /// What the encoder said.
        reason: String,
    },
    /// The body is not a value of the wanted type. Names the field for JSON.
    #[error("the body is not what is expected here ({encoding}): {reason}")]
    Decode {
        /// The encoding of the body.
        encoding: Encoding,
        /// What the decoder said.
        reason: String,
    },
    /// Bytes are left after the value.
    #[error("the body has {0} bytes after the value")]
    TrailingBytes(usize),
    /// The encoded value is over [`MAX_BODY`].
    #[error("the body would take {0} bytes, the limit is {MAX_BODY}")]
    TooLarge(usize),
    /// A body that is read by its description takes more bytes as JSON than it may; the limit is inside.
    #[error("as JSON it would take more than {0} bytes")]
    TooMuchJson(usize),
}

/// Encodes a value. Bytes are written as JSON: that is how a typed method answers a caller that sent plain bytes.
///
/// # Errors
/// [`CodecError::Encode`] if the type does not fit the encoding, [`CodecError::TooLarge`] over [`MAX_BODY`] bytes.
pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut body = Vec::new();
    encode_into(encoding, value, &mut body)?;
    Ok(body)
}

/// Encodes a value after what `out` holds, so that a buffer can be reused. After an error `out` is as it was.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(encoding: Encoding, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    let encoded = append(encoding, value, out).and_then(|()| match out.len() - start {
        len if len > MAX_BODY as usize => Err(CodecError::TooLarge(len)),
        _ => Ok(()),
    });
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

fn append<T: Serialize + ?Sized>(encoding: Encoding, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let appended = match encoding {
        Encoding::BINCODE => match bincode::serde::encode_into_std_write(value, out, BINCODE) {
            Ok(_) => Ok(()),
            Err(bincode::error::EncodeError::OtherString(reason)) => Err(reason), // without the name of the variant
            Err(bincode::error::EncodeError::Serde(_)) => Err(only_json::<T>()),
            Err(error) => Err(error.to_string()),
        },
        Encoding::BYTES | Encoding::JSON => json::encode_into(value, out).map_err(JsonError::into_reason),
        unknown => return Err(CodecError::UnknownEncoding(unknown)),
    };
    appended.map_err(|reason| CodecError::Encode { encoding, reason })
}

/// Decodes a value; bytes are read as JSON, and an empty JSON body as `null`, or as `{}` where the type wants members.
///
/// # Errors
/// [`CodecError::Decode`] names the field that is wrong; [`CodecError::TrailingBytes`] if something follows the value.
pub fn decode<T: DeserializeOwned>(encoding: Encoding, body: &[u8]) -> Result<T, CodecError> {
    match encoding {
        Encoding::BINCODE => decode_bincode_seed(PhantomData, body),
        Encoding::BYTES | Encoding::JSON if body.is_empty() => {
            decode_json(encoding, b"null").or_else(|_| decode_json(encoding, b"{}"))
        }
        Encoding::BYTES | Encoding::JSON => decode_json(encoding, body),
        unknown => Err(CodecError::UnknownEncoding(unknown)),
    }
}

/// Decodes a bincode body with a seed: how a body is read whose type is known only as a description.
///
/// # Errors
/// As [`decode`].
pub fn decode_bincode_seed<'de, S: DeserializeSeed<'de>>(seed: S, body: &'de [u8]) -> Result<S::Value, CodecError> {
    let (value, used) = bincode::serde::seed_decode_from_slice(seed, body, BINCODE).map_err(|error| {
        let reason = match error {
            bincode::error::DecodeError::OtherString(reason) => reason,
            bincode::error::DecodeError::Serde(_) => only_json::<S::Value>(),
            error => error.to_string(),
        };
        CodecError::Decode { encoding: Encoding::BINCODE, reason }
    })?;
    if used < body.len() {
        return Err(CodecError::TrailingBytes(body.len() - used));
    }
    Ok(value)
}

fn decode_json<T: DeserializeOwned>(encoding: Encoding, body: &[u8]) -> Result<T, CodecError> {
    json::decode(body).map_err(|error| CodecError::Decode { encoding, reason: error.into_reason() })
}

/// Why a type that asks its reader what comes next, or writes members without their number, isn't for bincode.
fn only_json<T: ?Sized>() -> String {
    let name = type_name::<T>();
    format!("{name} fits JSON alone, as types with `untagged`, `flatten` or `tag` do: send JSON, or change the type")
}

/// Little-endian, variable-length integers; the limit keeps a lying length from allocating more than a body can hold.
const BINCODE: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<{ MAX_BODY as usize }>,
> = bincode::config::standard().with_limit::<{ MAX_BODY as usize }>();

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Add {
        a: i64,
        b: i64,
    }

    #[test]
    fn golden_bytes_of_bincode() {
        assert_eq!(encode(Encoding::BINCODE, &Add { a: 1, b: -2 }).unwrap(), [2, 3]);
        assert_eq!(
            encode(Encoding::BINCODE, &("hé", 300_u32, Some(true))).unwrap(),
            [3, b'h', 0xc3, 0xa9, 251, 44, 1, 1, 1]
        );
    }

    #[test]
    fn a_buffer_is_appended_to_and_left_alone_by_an_error() {
        let mut out = b"head".to_vec();
        encode_into(Encoding::BINCODE, &Add { a: 1, b: -2 }, &mut out).unwrap();
        encode_into(Encoding::JSON, &3, &mut out).unwrap();
        assert_eq!(out, [b"head", &[2, 3][..], b"3"].concat());

        let too_large = vec![0_u8; MAX_BODY as usize + 1];
        let unfit = BTreeMap::from([((1, 2), 3)]); // a key that JSON can't have
        assert!(matches!(encode_into(Encoding::BINCODE, &too_large, &mut out), Err(CodecError::TooLarge(_))));
        assert!(matches!(encode_into(Encoding::JSON, &unfit, &mut out), Err(CodecError::Encode { .. })));
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn a_type_for_json_alone_is_named_with_the_way_out() {
        #[derive(Serialize, Deserialize, Debug)]
        #[serde(untagged)]
        enum Either {
            One(u8),
        }
        #[derive(Serialize)]
        struct Whole {
            #[serde(flatten)]
            rest: BTreeMap<String, u8>,
        }
        let refused = [
            decode::<Either>(Encoding::BINCODE, &[1]).unwrap_err().to_string(),
            encode(Encoding::BINCODE, &Whole { rest: BTreeMap::new() }).unwrap_err().to_string(),
        ];
        for (text, name) in refused.iter().zip(["Either", "Whole"]) {
            assert!(text.contains(&format!("{name} fits JSON alone")) && text.contains("send JSON"), "{text}");
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(matches!(decode::<Add>(Encoding::BINCODE, &[2, 3, 0]), Err(CodecError::TrailingBytes(1))));
        assert!(decode::<Add>(Encoding::JSON, br#"{"a":1,"b":2} x"#).is_err());
    }

    #[test]
    fn every_truncation_is_refused() {
        let body = encode(Encoding::BINCODE, &Add { a: 1_000_000, b: -1_000_000 }).unwrap();
        for cut in 0..body.len() {
            assert!(decode::<Add>(Encoding::BINCODE, &body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let wrong = |body: &[u8]| decode::<Add>(Encoding::BYTES, body).unwrap_err().to_string();
        assert!(wrong(br#"{"a":"x","b":2}"#).contains("a: invalid type"));
        assert!(wrong(br#"{"a":1}"#).contains("missing field `b`"));
        assert!(wrong(br#"{"a":1,"b":2,"c":3}"#).contains("unknown field `c`"));
    }

    #[test]
    fn a_lying_length_allocates_nothing() {
        let lie = [253, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(decode::<String>(Encoding::BINCODE, &lie).is_err());
        assert!(decode::<Vec<u8>>(Encoding::BINCODE, &lie).is_err());
    }

    #[test]
    fn an_empty_json_body_is_null_or_an_empty_object() {
        #[derive(Deserialize, Debug, PartialEq)]
        struct Optional {
            #[serde(default)]
            a: u8,
        }
        assert_eq!(decode::<Optional>(Encoding::BYTES, b"").unwrap(), Optional { a: 0 });
        decode::<()>(Encoding::JSON, b"").unwrap();
        assert!(decode::<Add>(Encoding::JSON, b"").is_err());
    }
}
