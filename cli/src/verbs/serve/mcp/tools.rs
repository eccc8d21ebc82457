//! The tools of a server as methods of a service.

use std::collections::BTreeMap;

use ipc_client::{DESCRIBE, Description, Hints, MethodDescription, MethodName, Type};
use serde_json::Value;

use crate::mcp::naming;

/// The names of the tools, by those of the methods that stand for them.
pub(super) type Names = BTreeMap<MethodName, String>;

/// The methods that stand for tools.
pub(super) fn methods(tools: &[Value]) -> (Description, Names) {
    let named: Vec<(&str, &Value)> =
        tools.iter().filter_map(|tool| Some((tool.get("name")?.as_str()?, tool))).collect();
    let full: Vec<String> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
    let short = naming::distinct(&full, LONGEST, |name| naming::plain(name).to_lowercase());
    let (mut description, mut names) = (Description::default(), Names::new());
    for ((name, tool), short) in named.into_iter().zip(short) {
        let Some(method) = MethodName::parse(&short).ok().filter(|method| method.as_str() != DESCRIBE) else {
            continue;
        };
        description.methods.insert(method.clone(), described(tool));
        names.insert(method, name.to_owned());
    }
    (description, names)
}

fn described(tool: &Value) -> MethodDescription {
    let text = |member: &str| tool.get(member).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let schema = |member: &str| tool.get(member).map(|schema| Type::of_schema(schema.clone()));
    let mut method = MethodDescription::default();
    let hints = tool.get("annotations");
    // Older servers have the title among the hints.
    let title = text("title").or_else(|| hints?.get("title")?.as_str()).unwrap_or_default();
    method.title = title.to_owned();
    method.about = text("description").unwrap_or(title).to_owned();
    method.hints = hints.map_or_else(Hints::default, self::hints);
    method.request = schema("inputSchema");
    method.reply = schema("outputSchema");
    method
}

/// What the server says of a call's effect. What it leaves out stays out: readers expect the worst then.
fn hints(annotations: &Value) -> Hints {
    let said = |member: &str| annotations.get(member).and_then(Value::as_bool);
    let mut hints = Hints::default();
    hints.read_only = said("readOnlyHint");
    hints.destructive = said("destructiveHint");
    hints.idempotent = said("idempotentHint");
    hints.open_world = said("openWorldHint");
    hints
}

/// A method's name, without its service's.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_a_method_in_small_letters() {
        let tools = [json!({ "name": "readFile", "description": "reads", "inputSchema": { "type": "object" } })];
        let (description, names) = methods(&tools);
        let method: MethodName = "readfile".parse().unwrap();
        assert_eq!(names[&method], "readFile");
        assert_eq!(description.methods[&method].json_schemas()["request"], json!({ "type": "object" }));
    }

    #[test]
    fn titles_and_hints_are_those_of_the_tool() {
        let tools = [
            json!({ "name": "a", "title": "A file", "annotations": { "title": "old", "readOnlyHint": true, "destructiveHint": 7 } }),
            json!({ "name": "b", "annotations": { "title": "Older", "openWorldHint": false } }),
            json!({ "name": "c", "annotations": "none" }),
        ];
        let (description, _) = methods(&tools);
        let [a, b, c] = ["a", "b", "c"].map(|name| &description.methods[&name.parse().unwrap()]);
        assert_eq!((a.title.as_str(), a.hints.read_only, a.hints.destructive), ("A file", Some(true), None));
        assert_eq!((b.title.as_str(), b.about.as_str(), b.hints.open_world), ("Older", "Older", Some(false)));
        assert!(c.title.is_empty() && c.hints.are_none());
    }

    #[test]
    fn tools_whose_names_collide_get_hashes() {
        let (_, names) = methods(&[json!({ "name": "a.b" }), json!({ "name": "A_b" }), json!({ "name": 7 })]);
        assert_eq!(names.len(), 2);
        assert!(names.keys().all(|name| name.as_str().starts_with("a_b_")), "{names:?}");
    }
}
