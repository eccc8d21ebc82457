//! JSON bodies: those of service `ipc`, and those of typed calls by way of the codec.

use serde::{Serialize, de::DeserializeOwned};

/// Why a body isn't the JSON that is wanted, or a value can't be written as JSON. Each holds the reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or not a value of the wanted type. Names the member.
    #[error("the body is not what is expected here (json): {0}")]
    Decode(String),
    /// A key of a map that isn't a text, or an error of the type's own.
    #[error("the value cannot be written as json: {0}")]
    Encode(String),
}

impl JsonError {
    /// The reason, for an error that says the rest itself.
    #[must_use]
    pub fn into_reason(self) -> String {
        match self {
            Self::Decode(reason) | Self::Encode(reason) => reason,
        }
    }
}

/// Writes a value.
///
/// # Errors
/// [`JsonError::Encode`] if the type doesn't fit JSON.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    let mut body = Vec::new();
    encode_into(value, &mut body)?;
    Ok(body)
}

/// Writes a value after what `out` holds. After an error, what follows there is of no use.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), JsonError> {
    serde_json::to_writer(out, value).map_err(|error| JsonError::Encode(error.to_string()))
}

/// Reads a value that fills the body.
///
/// # Errors
/// [`JsonError::Decode`] names the member that is wrong.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| JsonError::Decode(error.to_string()))?;
    json.end().map_err(|error| JsonError::Decode(error.to_string()))?;
    Ok(value)
}

/// Reads a value of service `ipc`: one object, which an empty body stands for too. serde would take an array for the members in the
/// order in which the type lists them, so that adding one changed the meaning of such a body.
///
/// # Errors
/// [`JsonError::Decode`] names the member that is wrong.
pub fn decode_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    match body.trim_ascii_start().first() {
        None => decode(b"{}"),
        Some(b'[') => Err(JsonError::Decode("an array, where one object is wanted".to_owned())),
        Some(_) => decode(body),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Add {
        a: i64,
        #[serde(default)]
        b: i64,
    }

    #[test]
    fn a_wrong_member_is_named() {
        let wrong = |body: &[u8]| decode::<Add>(body).unwrap_err().to_string();
        assert!(wrong(br#"{"a":"x","b":2}"#).contains("(json): a: invalid type"));
        assert!(wrong(br#"{"b":1}"#).contains("missing field `a`"));
        assert!(wrong(br#"{"a":1} {}"#).contains("trailing characters"));
    }

    #[test]
    fn members_in_order_are_not_an_object() {
        assert_eq!(decode_object::<Add>(b" {\"a\":1}").unwrap(), Add { a: 1, b: 0 });
        assert_eq!(decode::<Add>(b"[1,2]").unwrap(), Add { a: 1, b: 2 }, "as serde has it");
        for body in [&b"[]"[..], b"[1]", b" [1,2]", b"\n[{}]"] {
            let error = decode_object::<Add>(body).unwrap_err().to_string();
            assert!(error.ends_with("(json): an array, where one object is wanted"), "{error}");
        }
        assert!(matches!(decode_object::<Add>(b"1"), Err(JsonError::Decode(_))));
        assert!(matches!(decode_object::<Add>(b"null"), Err(JsonError::Decode(_))));
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(decode_object::<Add>(b"").unwrap_err().to_string().contains("missing field `a`"));
        assert!(decode_object::<crate::control::Empty>(b"").is_ok());
        assert!(decode_object::<crate::control::Empty>(b" \n").is_ok());
    }
}
