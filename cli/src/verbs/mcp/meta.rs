//! Three tools in place of many: list, describe, call.

use serde_json::{Value, json};

/// A tool about tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    List,
    Describe,
    Call,
}

impl Meta {
    /// All, sorted by name.
    pub(super) const ALL: [Self; 3] = [Self::Call, Self::Describe, Self::List];

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|meta| meta.name() == name)
    }

    /// As clients are told.
    pub(super) fn listed(self) -> Value {
        let name = json!({ "type": "string", "description": "the name of a tool, as ipc_list has it" });
        let (about, properties, required) = match self {
            Self::List => {
                let filter = json!({ "type": "string", "description": "only tools whose name or text contains this" });
                (
                    "Lists the tools of the local services, each with a line of text.",
                    json!({ "filter": filter }),
                    json!([]),
                )
            }
            Self::Describe => {
                ("Says what a tool takes and answers: its schemas.", json!({ "name": name }), json!(["name"]))
            }
            Self::Call => {
                let arguments = json!({ "type": "object", "description": "as ipc_describe says" });
                ("Calls a tool.", json!({ "name": name, "arguments": arguments }), json!(["name"]))
            }
        };
        let mut listed = json!({
            "name": self.name(),
            "description": about,
            "inputSchema": {
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            },
        });
        if self != Self::Call {
            listed["annotations"] = json!({ "readOnlyHint": true });
        }
        listed
    }

    fn name(self) -> &'static str {
        match self {
            Self::List => "ipc_list",
            Self::Describe => "ipc_describe",
            Self::Call => "ipc_call",
        }
    }
}
