//! What a service says of itself: `serve --describe FILE`, in TOML or JSON.
//!
//! ```toml
//! about = "texts in other shapes"
//!
//! [methods.repeat]
//! about = "the text, several times"
//! request = { text = "string", times = "integer?" }
//! reply = "string"
//! example = { text = "hi", times = 2 }
//! hints = { read_only = true }
//! ```

use std::{collections::BTreeMap, path::Path};

use ipc_client::{Description, ErrorCode, EventDescription, Field, MethodDescription, MethodName, Shape, Type};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    input,
    problem::{Problem, Result},
};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    about: String,
    #[serde(default)]
    methods: BTreeMap<MethodName, Method>,
    #[serde(default)]
    events: BTreeMap<String, Event>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    #[serde(default)]
    title: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    hints: SaidHints,
    request: Option<Said>,
    reply: Option<Said>,
    error: Option<Said>,
    upload: Option<Said>,
    download: Option<Said>,
    #[serde(default)]
    one_way: bool,
    example: Option<Value>,
}

/// What a call does to the world.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidHints {
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    open_world: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    #[serde(default)]
    about: String,
    event: Option<Said>,
}

/// A type: its name, or fields with theirs.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a type is a text such as 'string' or '[integer]', or fields with their types: { text = 'string', times = 'integer?' }"
)]
enum Said {
    Name(String),
    Fields(BTreeMap<String, SaidField>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a field has a type such as 'integer?', or { type = 'integer?', about = 'how often' }")]
enum SaidField {
    Name(String),
    Explained {
        #[serde(rename = "type")]
        name: String,
        #[serde(default)]
        about: String,
    },
}

/// Reads the description in a file, for the service `name`.
pub(super) fn read(path: &Path, name: &str) -> Result<Description> {
    let wrong = |reason: String| {
        Problem::new(ErrorCode::CONFIG, name, format!("{} isn't a description: {reason}", path.display()))
            .hint("'ipcctl help serve' shows one")
    };
    let bytes = input::file(path, name).map_err(|problem| problem.hint("--describe names a file"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it isn't UTF-8".to_owned()))?;
    let file: File = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    } else {
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            wrong(line.map_or_else(String::new, |line| format!("line {line}: ")) + error.message())
        })?
    };
    file.description().map_err(wrong)
}

impl File {
    fn description(self) -> std::result::Result<Description, String> {
        let mut description = Description::default();
        description.about = self.about;
        for (name, method) in self.methods {
            let described = method.description().map_err(|reason| format!("method '{name}': {reason}"))?;
            description.methods.insert(name, described);
        }
        for (topic, event) in self.events {
            let mut described = EventDescription::default();
            described.event = shape(event.event).map_err(|reason| format!("event '{topic}': {reason}"))?;
            described.about = event.about;
            description.events.insert(topic, described);
        }
        Ok(description)
    }
}

impl Method {
    fn description(self) -> std::result::Result<MethodDescription, String> {
        let mut described = MethodDescription::default();
        described.title = self.title;
        described.about = self.about;
        described.hints.read_only = self.hints.read_only;
        described.hints.destructive = self.hints.destructive;
        described.hints.idempotent = self.hints.idempotent;
        described.hints.open_world = self.hints.open_world;
        described.request = shape(self.request)?;
        described.reply = shape(self.reply)?;
        described.error = shape(self.error)?;
        described.upload = shape(self.upload)?;
        described.download = shape(self.download)?;
        described.one_way = self.one_way;
        if let (Some(request), Some(example)) = (&described.request, &self.example) {
            fits(request, example).map_err(|reason| format!("the example doesn't fit the request: {reason}"))?;
        }
        described.example = self.example;
        Ok(described)
    }
}

/// Whether an example is what the request says, as far as that can be told.
fn fits(request: &Type, example: &Value) -> std::result::Result<(), String> {
    request.check_names(example).map_err(|mismatch| mismatch.to_string())?;
    match (request.named_fields(), example) {
        ([], _) => value_fits(&request.shape, example),
        (fields, Value::Object(members)) => fields.iter().try_for_each(|field| match members.get(&field.name) {
            Some(value) => value_fits(&field.shape, value).map_err(|reason| format!("`{}`: {reason}", field.name)),
            None if matches!(field.shape, Shape::Option(_)) => Ok(()),
            None => Err(format!("the field `{}` is missing", field.name)),
        }),
        (_, _) => Err("it has fields, so its example is a table".to_owned()),
    }
}

fn value_fits(shape: &Shape, value: &Value) -> std::result::Result<(), String> {
    let fits = match shape {
        Shape::Str => value.is_string(),
        Shape::I64 => value.is_i64() || value.is_u64(),
        Shape::F64 => value.is_number(),
        Shape::Bool => value.is_boolean(),
        Shape::Unit => value.is_null(),
        Shape::Option(inner) => return if value.is_null() { Ok(()) } else { value_fits(inner, value) },
        Shape::List(item) => match value {
            Value::Array(values) => return values.iter().try_for_each(|value| value_fits(item, value)),
            _ => false,
        },
        Shape::Map(entry) => match value {
            Value::Object(members) => return members.values().try_for_each(|value| value_fits(&entry.1, value)),
            _ => false,
        },
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("{value} is no {shape}")) }
}

fn shape(said: Option<Said>) -> std::result::Result<Option<Type>, String> {
    let field = |(name, said)| {
        let (shape, about) = match said {
            SaidField::Name(shape) => (shape, String::new()),
            SaidField::Explained { name, about } => (name, about),
        };
        let mut field = Field::new(name, parse(&shape)?);
        field.about = about;
        Ok(field)
    };
    match said {
        None => Ok(None),
        Some(Said::Name(name)) => parse(&name).map(|shape| Some(Type::plain(shape))),
        Some(Said::Fields(fields)) => fields
            .into_iter()
            .map(field)
            .collect::<std::result::Result<_, _>>()
            .map(|fields| Some(Type::fields(fields))),
    }
}

/// A type as a person writes it: `string`, `integer`, `number`, `bool`, `any`, `T?` for one that may be missing, `[T]` for a list,
/// `{T}` for an object whose members are all `T`.
fn parse(text: &str) -> std::result::Result<Shape, String> {
    let text = text.trim();
    let inside = |open, close| text.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    if let Some(inner) = text.strip_suffix('?') {
        return Ok(Shape::Option(Box::new(parse(inner)?)));
    }
    if let Some(item) = inside('[', ']') {
        return Ok(Shape::List(Box::new(parse(item)?)));
    }
    if let Some(value) = inside('{', '}') {
        return Ok(Shape::Map(Box::new((Shape::Str, parse(value)?))));
    }
    Ok(match text {
        "string" => Shape::Str,
        "integer" => Shape::I64,
        "number" => Shape::F64,
        "bool" => Shape::Bool,
        "any" => Shape::Any,
        "nothing" => Shape::Unit,
        other => {
            return Err(format!("{other:?} is no type: string, integer, number, bool, any, nothing, T?, [T], {{T}}"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> std::result::Result<Description, String> {
        toml::from_str::<File>(text).map_err(|error| error.to_string())?.description()
    }

    #[test]
    fn fields_have_types_and_texts() {
        let text = "[methods.repeat]\nreply = '[string]'\n[methods.repeat.request]\n\
            text = { type = 'string', about = 'what' }\ntimes = 'integer?'\n";
        let description = described(text).unwrap();
        let repeat = &description.methods[&"repeat".parse().unwrap()];
        let fields: Vec<String> =
            repeat.request.as_ref().unwrap().named_fields().iter().map(ToString::to_string).collect();
        assert_eq!(fields, ["text: string", "times: i64?"]);
        assert_eq!(repeat.json_schemas()["request"]["properties"]["text"]["description"], "what");
    }

    #[test]
    fn a_method_has_a_title_and_hints() {
        let description = described("[methods.a]\ntitle = 'A file'\nhints = { read_only = true }\n").unwrap();
        let method = &description.methods[&"a".parse().unwrap()];
        assert_eq!((method.title.as_str(), method.hints.read_only), ("A file", Some(true)));
        assert_eq!(method.hints.destructive, None);
        assert!(described("[methods.a]\nhints = { readonly = true }\n").unwrap_err().contains("readonly"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(described("[methods.a]\nreply = 'strin'").unwrap_err().contains("method 'a': \"strin\" is no type"));
        assert!(described("[methods.a]\nreplie = 'string'").unwrap_err().contains("replie"));
        assert!(described("[methods.UP]").is_err());
        let list = described("[methods.a]\nrequest = ['integer']").unwrap_err();
        assert!(list.contains("a type is a text such as"), "{list}");
    }

    #[test]
    fn an_example_fits_the_request() {
        let with = |example: &str| {
            let request = "request = { x = 'integer', more = '[string]?' }";
            described(&format!("[methods.a]\n{request}\nexample = {example}")).map(drop)
        };
        assert_eq!(with("{ x = 1 }"), Ok(()));
        assert_eq!(with("{ x = 1, more = ['a'] }"), Ok(()));
        for (example, reason) in [
            ("{ y = 3 }", "there is no field `y`"),
            ("{ more = [] }", "the field `x` is missing"),
            ("{ x = 'one' }", "`x`: \"one\" is no i64"),
            ("{ x = 1, more = [2] }", "`more`: 2 is no string"),
            ("7", "is a table"),
        ] {
            let told = with(example).unwrap_err();
            assert!(
                told.starts_with("method 'a': the example doesn't fit the request: ") && told.contains(reason),
                "{told}"
            );
        }
    }
}
