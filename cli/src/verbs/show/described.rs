//! What a service says of itself, for people and for programs.

use std::collections::BTreeMap;

use ipc_client::{Composition, Description, Hints, MethodDescription, Shape, Type};
use serde_json::{Map, Value, json};

use crate::escape;

/// A part for each method and topic: how it is called, what it does, and the types that it names.
pub(super) fn text(service: &str, description: &Description) -> String {
    let mut text = String::new();
    if !description.about.is_empty() {
        text.push('\n');
        push_about(&mut text, &description.about);
    }
    for (name, method) in &description.methods {
        let target = if name.as_str().is_empty() { service.to_owned() } else { format!("{service}.{name}") };
        text.push('\n');
        push_line(&mut text, &format!("{target}{}", signature(method)));
        if !method.title.is_empty() && method.title != method.about {
            push_line(&mut text, &format!("    {}", method.title));
        }
        push_about(&mut text, &method.about);
        let hints = hints(&method.hints);
        if !hints.is_empty() {
            push_line(&mut text, &format!("    hints: {hints}"));
        }
        if let Some(example) = &method.example {
            push_line(&mut text, &format!("    example: {example}"));
        }
        push_types(&mut text, [&method.request, &method.reply, &method.error, &method.upload, &method.download]);
    }
    for (topic, event) in &description.events {
        let shape = event.event.as_ref().map(|shape| format!(" {}", inline(shape)));
        text.push('\n');
        push_line(&mut text, &format!("event {topic}{}", shape.unwrap_or_default()));
        push_about(&mut text, &event.about);
        push_types(&mut text, [&event.event]);
    }
    text
}

/// The texts, and each method with its JSON Schemas.
pub(super) fn json(description: &Description) -> Map<String, Value> {
    let mut members = Map::new();
    if !description.about.is_empty() {
        members.insert("about".to_owned(), json!(description.about));
    }
    let method = |method: &MethodDescription| {
        let mut value = method.json_schemas();
        if let Some(members) = value.as_object_mut() {
            members.insert("about".to_owned(), json!(method.about));
            if !method.title.is_empty() {
                members.insert("title".to_owned(), json!(method.title));
            }
            if !method.hints.are_none() {
                members.insert("hints".to_owned(), json!(method.hints));
            }
            if method.one_way {
                members.insert("one_way".to_owned(), json!(true));
            }
            if let Some(example) = &method.example {
                members.insert("example".to_owned(), example.clone());
            }
        }
        value
    };
    let described: Map<String, Value> =
        description.methods.iter().map(|(name, it)| (name.to_string(), method(it))).collect();
    if !described.is_empty() {
        members.insert("described".to_owned(), Value::Object(described));
    }
    let event = |event: &ipc_client::EventDescription| json!({ "about": event.about, "event": event.event.as_ref().map(Type::json_schema) });
    let events: Map<String, Value> = description.events.iter().map(|(topic, it)| (topic.clone(), event(it))).collect();
    if !events.is_empty() {
        members.insert("events".to_owned(), Value::Object(events));
    }
    members
}

/// What is said of a call's effect: `read_only`, `not destructive`.
fn hints(hints: &Hints) -> String {
    let Hints { read_only, destructive, idempotent, open_world, .. } = hints;
    let named = [
        (read_only, "read_only"),
        (destructive, "destructive"),
        (idempotent, "idempotent"),
        (open_world, "open_world"),
    ];
    let said = named
        .into_iter()
        .filter_map(|(said, name)| said.map(|so| if so { name.to_owned() } else { format!("not {name}") }));
    said.collect::<Vec<_>>().join(", ")
}

/// `(a: i64, b: i64) -> i64, or CalcError`.
fn signature(method: &MethodDescription) -> String {
    let mut text = String::new();
    if let Some(request) = &method.request {
        text.push_str(&format!("({})", inline(request)));
    }
    if let Some(upload) = &method.upload {
        text.push_str(&format!(" <- items {}", inline(upload)));
    }
    if let Some(download) = &method.download {
        text.push_str(&format!(" -> items {}", inline(download)));
    }
    match &method.reply {
        _ if method.one_way => text.push_str(", no reply"),
        Some(reply) if reply.shape == Shape::Unit && method.download.is_some() => {}
        Some(reply) => text.push_str(&format!(" -> {}", reply.shape)),
        None => {}
    }
    if let Some(error) = method.error.as_ref().filter(|error| error.shape != Shape::Never) {
        text.push_str(&format!(", or {}", error.shape));
    }
    text
}

/// The fields of a struct, or the name of anything else.
fn inline(shape: &Type) -> String {
    let fields = shape.named_fields();
    match (&shape.shape, fields.is_empty()) {
        (_, false) => fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        (Shape::Type(name), true) => match shape.types.get(name) {
            Some(Composition::Struct(_) | Composition::Unit) => String::new(),
            _ => name.clone(),
        },
        (shape, true) => shape.to_string(),
    }
}

/// The types that are named in a line above and not spelled out there.
fn push_types<'a>(text: &mut String, shapes: impl IntoIterator<Item = &'a Option<Type>>) {
    let mut types = BTreeMap::new();
    for (at, shape) in shapes.into_iter().enumerate() {
        let Some(shape) = shape else { continue };
        let spelled = |name: &str| at == 0 && matches!(&shape.shape, Shape::Type(root) if root == name);
        types.extend(shape.types.iter().filter(|(name, it)| !spelled(name) || matches!(it, Composition::Enum(_))));
        for field in shape.named_fields().iter().filter(|field| !field.about.is_empty()) {
            push_line(text, &format!("    {}: {}", field.name, field.about));
        }
    }
    for (name, composition) in types {
        push_line(text, &format!("    {name} = {composition}"));
    }
}

/// Nothing that a service says freely stands at the margin, where lines of ours begin.
fn push_about(text: &mut String, about: &str) {
    about.lines().for_each(|line| push_line(text, &format!("    {}", line.trim())));
}

/// What a service says must not look like a line of ours, nor move the cursor.
fn push_line(text: &mut String, line: &str) {
    text.push_str(&escape::line(line));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ours_cannot_be_forged() {
        let description = json!({
            "about": "x\nipcctl: all well\rdone",
            "methods": { "": { "title": "a\nipcctl: b", "about": "ipcctl: c\u{2028}ipcctl: d" } },
            "events": { "ipcctl: e\nipcctl: f": { "about": "g\nipcctl: h" } },
        });
        let shown = text("calc", &serde_json::from_value(description).unwrap());
        assert!(shown.contains("\n    x\n    ipcctl: all well\\rdone\n"), "{shown}");
        assert!(shown.lines().all(|line| !line.starts_with("ipcctl")), "{shown}");
        assert!(!shown.contains(['\r', '\u{2028}']), "{shown}");
    }
}
