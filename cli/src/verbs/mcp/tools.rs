//! The tools that stand for the methods of services: their names, their schemas, and what is called for them.

use std::collections::BTreeMap;

use ipc_client::{Description, Hints, MethodDescription, MethodName, ServiceName};
use serde_json::{Map, Value, json};

use super::{
    meta::Meta,
    schema::{self, Arguments, Structure},
};
use crate::mcp::naming;

/// A tool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    /// What clients call it.
    pub(super) name: String,
    /// The service and the method, as they are written elsewhere.
    pub(super) title: String,
    about: String,
    /// What the service says of a call's effect, if it does.
    annotations: Option<Value>,
    input: Value,
    output: Option<Value>,
    pub(super) service: ServiceName,
    pub(super) method: MethodName,
    pub(super) arguments: Arguments,
    pub(super) structure: Structure,
    pub(super) manner: Manner,
}

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers.
    Call,
    /// It sends items before it answers.
    Stream,
    /// It answers nothing.
    OneWay,
}

/// All tools of the moment, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tools(BTreeMap<String, Tool>);

/// A service, and the methods of it that are offered.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) service: ServiceName,
    /// What the service says of itself, if it does.
    pub(super) description: Option<Description>,
    /// Methods that it is known to have.
    pub(super) methods: Vec<MethodName>,
}

impl Tools {
    /// The tools of these services.
    pub(super) fn of(services: impl IntoIterator<Item = Offered>) -> Self {
        let mut tools: Vec<Tool> = services.into_iter().flat_map(tools).collect();
        let titles: Vec<String> = tools.iter().map(|tool| tool.title.clone()).collect();
        let names = naming::distinct(&titles, LONGEST_NAME, naming::plain);
        tools.iter_mut().zip(names).for_each(|(tool, name)| tool.name = name);
        Self(tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect())
    }

    /// The tool of a name, which may be the dotted one.
    pub(super) fn find(&self, name: &str) -> Option<&Tool> {
        self.0.get(name).or_else(|| self.0.values().find(|tool| tool.title == name))
    }

    /// The name that was meant by one that isn't here, if one is near.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        let rated = self.0.values().map(|tool| {
            let rate = |known: &str| strsim::jaro_winkler(name, known);
            (rate(&tool.name).max(rate(&tool.title)), tool)
        });
        let (rate, tool) = rated.max_by(|one, other| one.0.total_cmp(&other.0))?;
        (rate > NEAR).then_some(&tool.name)
    }

    /// What clients are told: the tools, or if there are too many for a model to choose from, the three that find and call them.
    pub(super) fn listed(&self) -> Vec<Value> {
        if self.are_many() { Meta::ALL.map(Meta::listed).to_vec() } else { self.0.values().map(Tool::listed).collect() }
    }

    /// A line for each tool that has `filter` in its name or its text.
    pub(super) fn index(&self, filter: &str) -> String {
        let filter = filter.to_lowercase();
        let lines = self.0.values().map(|tool| format!("{}: {}", tool.title, tool.headline()));
        lines.filter(|line| line.to_lowercase().contains(&filter)).collect::<Vec<_>>().join("\n")
    }

    /// Whether there are none.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are offered through meta tools.
    pub(super) fn are_many(&self) -> bool {
        self.0.len() > MOST_TOOLS
    }
}

impl Tool {
    /// As clients are told.
    pub(super) fn listed(&self) -> Value {
        let mut listed = json!({
            "name": self.name,
            "title": self.title,
            "description": self.about,
            "inputSchema": self.input,
        });
        for (member, value) in [("outputSchema", &self.output), ("annotations", &self.annotations)] {
            if let (Some(listed), Some(value)) = (listed.as_object_mut(), value) {
                listed.insert(member.to_owned(), value.clone());
            }
        }
        listed
    }

    /// What it is for, in its first line.
    fn headline(&self) -> &str {
        self.about.lines().next().unwrap_or_default()
    }

    fn new(service: &ServiceName, method: &MethodName, described: Option<&MethodDescription>, about: String) -> Self {
        let title = if method.as_str().is_empty() { service.to_string() } else { format!("{service}.{method}") };
        let (input, arguments) = schema::of_request(described.and_then(|it| it.request.as_ref()));
        let manner = match described {
            Some(it) if it.one_way => Manner::OneWay,
            Some(it) if it.download.is_some() => Manner::Stream,
            _ => Manner::Call,
        };
        // The result of a stream is its last item, or the reply, or all items.
        let reply = described.and_then(|it| it.reply.as_ref()).filter(|_| manner == Manner::Call);
        let (output, structure) = schema::of_reply(reply);
        Self {
            name: String::new(),
            title,
            about,
            annotations: described.and_then(annotations),
            input,
            output,
            service: service.clone(),
            method: method.clone(),
            arguments,
            structure,
            manner,
        }
    }
}

fn tools(offered: Offered) -> Vec<Tool> {
    let Offered { service, description, mut methods } = offered;
    let Some(description) = description else {
        if methods.is_empty() {
            methods.push(MethodName::default());
        }
        let about = format!("The service {service}. It doesn't say what it takes: 'input' is the body of the call.");
        return methods.iter().map(|method| Tool::new(&service, method, None, about.clone())).collect();
    };
    let tool = |method: &MethodName| {
        let described = description.methods.get(method);
        let about = described.map_or_else(String::new, |described| about(&service, &description, described));
        Tool::new(&service, method, described, about)
    };
    // What must be sent items can't be a tool: a call of a tool has arguments and no more.
    let is_tool = |method: &&MethodName| description.methods.get(*method).is_some_and(|it| it.upload.is_none());
    methods.iter().filter(is_tool).map(tool).collect()
}

/// Only what the service says: what is missing counts as the worst.
fn annotations(method: &MethodDescription) -> Option<Value> {
    let Hints { read_only, destructive, idempotent, open_world, .. } = method.hints;
    let hints = [
        ("readOnlyHint", read_only),
        ("destructiveHint", destructive),
        ("idempotentHint", idempotent),
        ("openWorldHint", open_world),
    ];
    let mut said: Map<String, Value> =
        hints.into_iter().filter_map(|(name, hint)| Some((name.to_owned(), json!(hint?)))).collect();
    let title = method.title.trim();
    if !title.is_empty() {
        said.insert("title".to_owned(), json!(title.get(..title.floor_char_boundary(LONGEST_TITLE))));
    }
    (!said.is_empty()).then_some(Value::Object(said))
}

fn about(service: &ServiceName, description: &Description, method: &MethodDescription) -> String {
    let said = [method.about.as_str(), description.about.as_str()];
    let said = said.into_iter().map(str::trim).find(|text| !text.is_empty());
    let mut about = said.map_or_else(|| format!("A method of the service {service}."), str::to_owned);
    if let Some(example) = &method.example {
        about.push_str(&format!("\nExample: {example}"));
    }
    about.truncate(about.floor_char_boundary(LONGEST_ABOUT));
    about
}

/// Clients put a prefix of their own before a name, and accept 64 characters of both.
const LONGEST_NAME: usize = 40;
/// Tools beyond which models choose badly, and clients refuse.
const MOST_TOOLS: usize = 40;
/// From 0 to 1: names of services have much in common.
const NEAR: f64 = 0.8;
/// A line in a list.
const LONGEST_TITLE: usize = 200;
/// Each text costs every conversation its length.
const LONGEST_ABOUT: usize = 2_048;

#[cfg(test)]
mod tests {
    use ipc_client::{Field, Shape, Type};

    use super::*;

    fn offered(service: &str, methods: &[&str], description: Option<Description>) -> Offered {
        let methods = methods.iter().map(|method| method.parse().unwrap()).collect();
        Offered { service: service.parse().unwrap(), description, methods }
    }

    fn calc() -> Offered {
        let mut add = MethodDescription::default();
        add.request = Some(Type::fields(vec![Field::new("a", Shape::I64)]));
        add.reply = Some(Type::plain(Shape::I64));
        let mut upload = add.clone();
        upload.upload = Some(Type::plain(Shape::I64));
        let mut description = Description::default();
        description.about = "sums".to_owned();
        description.methods.insert("add".parse().unwrap(), add);
        description.methods.insert("sum".parse().unwrap(), upload);
        offered("calc", &["add", "sum"], Some(description))
    }

    #[test]
    fn a_method_is_a_tool_whose_title_keeps_the_dots() {
        let tools = Tools::of([calc()]);
        let listed = tools.listed();
        assert_eq!(listed.len(), 1, "a method that takes a stream is none: {listed:?}");
        assert_eq!((&listed[0]["name"], &listed[0]["title"]), (&json!("calc_add"), &json!("calc.add")));
        assert_eq!(listed[0]["description"], "sums");
        assert_eq!(listed[0]["outputSchema"]["required"], json!(["result"]));
        assert_eq!(tools.find("calc.add"), tools.find("calc_add"));
    }

    #[test]
    fn annotations_are_what_the_service_says_and_no_more() {
        let mut calc = calc();
        let add = calc.description.as_mut().unwrap().methods.get_mut(&"add".parse::<MethodName>().unwrap()).unwrap();
        add.title = "Add numbers".to_owned();
        add.hints.read_only = Some(true);
        let listed = Tools::of([calc]).listed();
        assert_eq!(listed[0]["annotations"], json!({ "title": "Add numbers", "readOnlyHint": true }));
        assert_eq!(listed[0]["title"], "calc.add");
        assert!(Tools::of([self::calc()]).listed()[0].get("annotations").is_none());
    }

    #[test]
    fn a_service_without_a_description_takes_a_text() {
        let tools = Tools::of([offered("upper", &[], None)]);
        assert_eq!(tools.listed()[0]["inputSchema"]["required"], json!(["input"]));
        assert!(tools.listed()[0].get("outputSchema").is_none());
    }

    #[test]
    fn beyond_forty_tools_there_are_three() {
        let some = |count: usize| Tools::of((0..count).map(|at| offered(&format!("s{at}"), &[], None)));
        assert_eq!((some(40).listed().len(), some(41).listed().len()), (40, 3));
    }
}
