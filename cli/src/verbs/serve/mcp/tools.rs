//! The tools of a server as methods of a service.

use std::collections::BTreeMap;

use ipc_client::{DESCRIBE, Description, MethodDescription, MethodName, Shape, Type};
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
    let schema = |member: &str| tool.get(member).map(|schema| Type::plain(Shape::Schema(schema.clone())));
    let mut method = MethodDescription::default();
    method.about = text("description").or(text("title")).unwrap_or_default().to_owned();
    method.request = schema("inputSchema");
    method.reply = schema("outputSchema");
    method
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
    fn tools_whose_names_collide_get_hashes() {
        let (_, names) = methods(&[json!({ "name": "a.b" }), json!({ "name": "A_b" }), json!({ "name": 7 })]);
        assert_eq!(names.len(), 2);
        assert!(names.keys().all(|name| name.as_str().starts_with("a_b_")), "{names:?}");
    }
}
