//! The versions of the protocol, in two eras: up to 2025-11-25 a session begins with `initialize`; from 2026-07-28 on each request says for
//! itself which version it speaks.

use serde_json::{Map, Value, json};

use super::message::{Fault, OTHER_VERSION, WRONG_PARAMS};

/// How a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Sessions, begun with `initialize`.
    Sessions,
    /// No session: each request carries version and capabilities.
    Stateless,
}

/// The version of the stateless era.
pub(crate) const STATELESS: &str = "2026-07-28";
/// Versions with sessions, newest first.
pub(crate) const SESSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Members of `_meta`.
pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const SERVER: &str = "io.modelcontextprotocol/serverInfo";
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What stands beside the parameters of a request.
pub(crate) fn meta<'a>(params: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    params.get("_meta")?.get(member)
}

impl Era {
    /// The era of a request.
    ///
    /// # Errors
    /// The fault to answer with: a version that isn't spoken here, or no capabilities.
    pub(crate) fn of(params: &Map<String, Value>) -> Result<Self, Fault> {
        let Some(version) = meta(params, VERSION) else { return Ok(Self::Sessions) };
        if version != STATELESS {
            let data = json!({ "supported": [STATELESS], "requested": version });
            let text = format!("this version of the protocol isn't spoken here; {STATELESS} is");
            return Err(Fault { data: Some(data), ..Fault::new(OTHER_VERSION, text) });
        }
        match meta(params, CAPABILITIES) {
            Some(Value::Object(_)) => Ok(Self::Stateless),
            _ => Err(Fault::new(WRONG_PARAMS, format!("_meta[\"{CAPABILITIES}\"] is missing"))),
        }
    }

    /// The parameters of a request as this era has them.
    pub(crate) fn params(self, mut params: Map<String, Value>, mut meta: Map<String, Value>) -> Value {
        if self == Self::Stateless {
            meta.insert(VERSION.to_owned(), json!(STATELESS));
            meta.insert(CLIENT.to_owned(), introduction());
            meta.insert(CAPABILITIES.to_owned(), json!({}));
        }
        if !meta.is_empty() {
            params.insert("_meta".to_owned(), Value::Object(meta));
        }
        Value::Object(params)
    }

    /// A result as this era has it.
    pub(crate) fn result(self, mut result: Value) -> Value {
        if let (Some(members), Self::Stateless) = (result.as_object_mut(), self) {
            members.insert("resultType".to_owned(), json!("complete"));
        }
        result
    }
}

/// The version of a session with a client that asks for `wanted`.
pub(crate) fn of_session(wanted: &Value) -> &'static str {
    SESSIONS.into_iter().find(|version| wanted == version).unwrap_or(SESSIONS[0])
}

/// This program, as it introduces itself.
pub(crate) fn introduction() -> Value {
    json!({ "name": "ipcctl", "version": env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(meta: Value) -> Result<Era, i64> {
        Era::of(json!({ "_meta": meta }).as_object().unwrap()).map_err(|fault| fault.code)
    }

    #[test]
    fn a_request_says_its_era() {
        assert_eq!(era(json!({})), Ok(Era::Sessions));
        assert_eq!(era(json!({ "progressToken": 1 })), Ok(Era::Sessions));
        assert_eq!(era(json!({ VERSION: STATELESS, CAPABILITIES: {} })), Ok(Era::Stateless));
        assert_eq!(era(json!({ VERSION: STATELESS })), Err(WRONG_PARAMS));
        assert_eq!(era(json!({ VERSION: "2030-01-01", CAPABILITIES: {} })), Err(OTHER_VERSION));
        assert_eq!(era(json!({ VERSION: 7, CAPABILITIES: {} })), Err(OTHER_VERSION));
    }

    #[test]
    fn a_session_has_the_version_that_its_client_wants_if_it_is_known() {
        assert_eq!(of_session(&json!("2025-03-26")), "2025-03-26");
        assert_eq!(of_session(&json!("1999-01-01")), "2025-11-25");
        assert_eq!(of_session(&Value::Null), "2025-11-25");
    }
}
