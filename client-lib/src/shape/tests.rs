use std::collections::BTreeMap;

use ipc_protocol::{
    Encoding,
    codec::{self, CodecError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: Option<String>,
    lines: Vec<Line>,
    paid: Paid,
    marks: BTreeMap<u16, bool>,
    place: (f32, f64),
    digest: [u8; 4],
    letter: char,
    small: i8,
    wide: i128,
    nothing: (),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: Article,
    count: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Article(String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Paid {
    Not,
    Cash(u32),
    Card { number: String, until: (u8, u16) },
    Both(u32, Way),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    Cheque,
    Transfer,
}

fn order(paid: Paid) -> Order {
    Order {
        id: u64::MAX,
        customer: None,
        lines: vec![
            Line { article: Article("te\"a".to_owned()), count: 2 },
            Line { article: Article(String::new()), count: 0 },
        ],
        paid,
        marks: BTreeMap::from([(300, true), (700, false)]),
        place: (0.5, -2.25),
        digest: [1, 2, 3, 250],
        letter: 'é',
        small: -7,
        wide: i128::from(i64::MIN) + 1,
        nothing: (),
    }
}

fn payments() -> [Paid; 4] {
    let number = "1234".to_owned();
    [Paid::Not, Paid::Cash(70_000), Paid::Card { number, until: (12, 2030) }, Paid::Both(1, Way::Transfer)]
}

#[test]
fn a_bincode_body_reads_as_the_json_of_its_type_and_back_byte_for_byte() {
    let shape = Type::of::<Order>().expect("it can be traced");
    for paid in payments() {
        let order = order(paid);
        let bincode = codec::encode(Encoding::BINCODE, &order).unwrap();
        let json = shape.to_json(&bincode).unwrap();
        assert_eq!(String::from_utf8(json.clone()).unwrap(), serde_json::to_string(&order).unwrap());
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(shape.to_bincode(&value).unwrap(), bincode);
    }
}

#[test]
fn a_shape_survives_its_journey_as_json() {
    let shape = Type::of::<Order>().unwrap();
    let text = serde_json::to_string(&shape).unwrap();
    assert_eq!(serde_json::from_str::<Type>(&text).unwrap(), shape);
}

#[test]
fn enums_inside_enums_are_whole() {
    let shape = Type::of::<Vec<Option<Paid>>>().unwrap();
    let names = |name: &str| match &shape.types[name] {
        Composition::Enum(variants) => variants.iter().map(|variant| variant.name.clone()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names("Paid"), ["Not", "Cash", "Card", "Both"]);
    assert_eq!(names("Way"), ["Cheque", "Transfer"]);
}

#[test]
fn what_bincode_cannot_decode_has_no_shape() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        #[expect(dead_code)]
        One(u8),
        #[expect(dead_code)]
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(try_from = "u8")]
    struct Even;
    impl TryFrom<u8> for Even {
        type Error = String;
        fn try_from(byte: u8) -> Result<Self, String> {
            if byte == 200 { Ok(Self) } else { Err("it isn't 200".to_owned()) }
        }
    }
    assert_eq!(Type::of::<Untagged>(), None);
    assert_eq!(Type::of::<Even>(), None);
    assert_eq!(Type::of::<Value>(), None);
}

#[test]
fn a_text_is_a_number_only_as_the_key_of_a_map() {
    let line = Type::of::<Line>().unwrap();
    let error = |value| line.to_bincode(&value).unwrap_err().to_string();
    assert!(error(json!({ "article": "tea", "count": "2" })).contains("0 or more, found \"2\""));
    assert!(Type::of::<bool>().unwrap().to_bincode(&json!("true")).is_err());
    assert!(Type::of::<Option<u8>>().unwrap().to_bincode(&json!("7")).is_err());
    assert!(Type::of::<Vec<u8>>().unwrap().to_bincode(&json!(["7"])).is_err());

    type Nested = BTreeMap<bool, BTreeMap<u16, u8>>;
    let nested = Type::of::<Nested>().unwrap();
    let value: Nested = BTreeMap::from([(true, BTreeMap::from([(300, 7)]))]);
    let expected = codec::encode(Encoding::BINCODE, &value).unwrap();
    assert_eq!(nested.to_bincode(&json!({ "true": { "300": 7 } })).unwrap(), expected);
    assert!(nested.to_bincode(&json!({ "true": { "300": "7" } })).is_err());
}

#[test]
fn positional_and_missing_fields_are_taken_and_wrong_ones_named() {
    let line = Type::of::<Line>().unwrap();
    let expected = codec::encode(Encoding::BINCODE, &Line { article: Article("tea".to_owned()), count: 2 }).unwrap();
    assert_eq!(line.to_bincode(&json!(["tea", 2])).unwrap(), expected);
    let error = |value| line.to_bincode(&value).unwrap_err().to_string();
    assert!(error(json!({ "article": "tea" })).contains("missing field `count`"));
    assert!(error(json!({ "article": "tea", "count": -1 })).contains("0 or more, found -1"));

    #[derive(Serialize, Deserialize)]
    struct Maybe {
        value: Option<u8>,
    }
    assert_eq!(Type::of::<Maybe>().unwrap().to_bincode(&json!({})).unwrap(), [0]);
}

#[test]
fn an_unknown_name_is_found_wherever_it_stands() {
    let order = Type::of::<Order>().unwrap();
    let wrong = |value| order.check_names(&value).unwrap_err();
    assert_eq!(wrong(json!({ "idd": 1 })).field, "idd");
    assert_eq!(wrong(json!({ "lines": [{}, { "cuont": 1 }] })).path(), "lines.1.cuont");
    assert_eq!(wrong(json!({ "paid": { "Card": { "nr": 1 } } })).known, ["number", "until"]);
    order.check_names(&json!({ "id": "a text", "marks": { "any": 1 } })).unwrap();
    order.check_names(&json!([1, 2])).unwrap();
}

#[test]
fn a_hostile_shape_ends() {
    let itself = |holds| Type { shape: Shape::Type("A".to_owned()), types: BTreeMap::from([("A".to_owned(), holds)]) };
    let endless = itself(Composition::Newtype(Shape::Type("A".to_owned())));
    assert!(endless.to_json(b"").is_err());
    assert!(endless.to_bincode(&json!(1)).is_err());
    endless.check_names(&json!({ "a": 1 })).unwrap();
    assert!(endless.named_fields().is_empty());
    let wide = Type::plain(Shape::Array(Box::new(Shape::Array(Box::new(Shape::Unit), u32::MAX)), u32::MAX));
    assert!(wide.to_json(b"").unwrap_err().to_string().contains("too many values"));
    assert!(Type::plain(Shape::Type("B".to_owned())).to_json(b"").is_err());
    assert!(
        Type::plain(Shape::List(Box::new(Shape::Unit))).to_json(&[253, 255, 255, 255, 255, 255, 255, 255, 0]).is_err()
    );
}

#[test]
fn a_hostile_shape_writes_no_more_than_its_body_is_worth() {
    let types = |name: String| {
        BTreeMap::from([("E".to_owned(), Composition::Enum(vec![Variant { name, holds: Composition::Unit }]))])
    };
    let list = |name_len| Type {
        shape: Shape::List(Box::new(Shape::Type("E".to_owned()))),
        types: types("v".repeat(name_len)),
    };
    let body = codec::encode(Encoding::BINCODE, &vec![0_u8; 60_000]).unwrap();
    assert!(matches!(list(400_000).to_json(&body), Err(CodecError::TooMuchJson(4_888_768))));
    assert_eq!(list(40).to_json(&body).unwrap().len(), 60_000 * 43 + 1);
}

#[test]
fn a_name_of_a_field_or_a_variant_has_at_most_255_bytes() {
    let of = |len| {
        let name = "n".repeat(len);
        let field = json!({ "struct": [{ "name": name, "shape": "unit" }] });
        let variant = json!({ "enum": [{ "name": name, "holds": "unit" }] });
        [field, variant]
            .map(|it| serde_json::from_value::<Composition>(it).map(drop).map_err(|error| error.to_string()))
    };
    assert_eq!(of(255), [Ok(()), Ok(())]);
    let refused = Err("a name of 256 bytes, at most 255 are read".to_owned());
    assert_eq!(of(256), [refused.clone(), refused]);
}

#[test]
fn every_cut_and_every_changed_byte_is_an_error_or_a_value() {
    let shape = Type::of::<Order>().unwrap();
    for paid in payments() {
        let body = codec::encode(Encoding::BINCODE, &order(paid)).unwrap();
        for at in 0..body.len() {
            assert!(shape.to_json(&body[..at]).is_err());
            let mut changed = body.clone();
            changed[at] ^= 0x55;
            let typed = codec::decode::<Order>(Encoding::BINCODE, &changed);
            assert_eq!(shape.to_json(&changed).is_ok(), typed.is_ok(), "byte {at}");
        }
    }
}

#[test]
fn the_schema_says_what_json_must_be() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Put {
        key: String,
        ttl: Option<u32>,
        way: Way,
    }
    let schema = Type::of::<Put>().unwrap().json_schema();
    let expected = json!({
        "type": "object",
        "properties": {
            "key": { "type": "string" },
            "ttl": { "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX },
            "way": { "$ref": "#/$defs/Way" },
        },
        "required": ["key", "way"],
        "additionalProperties": false,
        "$defs": { "Way": { "type": "string", "enum": ["Cheque", "Transfer"] } },
    });
    assert_eq!(schema, expected);
}

#[test]
fn a_shape_reads_as_a_person_writes_it() {
    let shape = Type::of::<Order>().unwrap();
    let fields: Vec<String> = shape.named_fields().iter().map(ToString::to_string).collect();
    let expected = "id: u64, customer: string?, lines: [Line], paid: Paid, marks: {u16: bool}, place: (f32, f64)";
    assert_eq!(fields[..6].join(", "), expected);
    let paid = "Not | Cash(u32) | Card { number: string, until: (u8, u16) } | Both(u32, Way)";
    assert_eq!(shape.types["Paid"].to_string(), paid);
}

#[test]
fn types_of_one_name_and_generic_ones_are_told_apart() {
    mod other {
        #[derive(serde::Deserialize)]
        #[expect(dead_code)]
        pub(super) struct Line {
            text: String,
        }
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Wrapped<T> {
        inner: T,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Both {
        one: Line,
        two: other::Line,
        three: Wrapped<u8>,
        four: Wrapped<Option<u16>>,
    }
    let shape = Type::of::<Both>().unwrap();
    let names: Vec<&str> = shape.types.keys().map(String::as_str).collect();
    assert_eq!(names, ["Article", "Both", "Line", "Line2", "Wrapped", "Wrapped2"]);
    assert_eq!(shape.types["Line2"].to_string(), "text: string");
    assert_eq!(shape.types["Wrapped2"].to_string(), "inner: u16?");
}

#[test]
fn a_type_that_holds_itself_has_a_shape() {
    #[derive(Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>, Way, Vec<Tree>),
    }
    #[derive(Serialize, Deserialize)]
    struct Link {
        next: Option<Box<Link>>,
        tree: Tree,
    }
    let shape = Type::of::<Link>().unwrap();
    assert_eq!(shape.types["Tree"].to_string(), "Leaf | Node(Tree, Way, [Tree])");
    assert_eq!(shape.types["Way"].to_string(), "Cheque | Transfer");
    let leaf = || Box::new(Tree::Leaf);
    let tree = Tree::Node(leaf(), Way::Transfer, vec![Tree::Leaf]);
    let link = Link { next: Some(Box::new(Link { next: None, tree: Tree::Leaf })), tree };
    let body = codec::encode(Encoding::BINCODE, &link).unwrap();
    assert_eq!(shape.to_json(&body).unwrap(), serde_json::to_vec(&link).unwrap());
    let recursive = shape.json_schema();
    assert_eq!(recursive["properties"]["next"]["anyOf"][0]["$ref"], "#/$defs/Link");
    assert!(recursive["$defs"]["Link"].is_object());
}

#[test]
fn the_order_of_variants_and_fields_is_part_of_a_shape() {
    mod one {
        #[derive(serde::Deserialize)]
        pub(super) enum Way {
            Cheque,
            Transfer,
        }
        #[derive(serde::Deserialize)]
        #[expect(dead_code)]
        pub(super) struct Point {
            x: Option<u8>,
            y: Option<u8>,
        }
    }
    mod other {
        #[derive(serde::Deserialize)]
        pub(super) enum Way {
            Transfer,
            Cheque,
        }
        #[derive(serde::Deserialize)]
        #[expect(dead_code)]
        pub(super) struct Point {
            y: Option<u8>,
            x: Option<u8>,
        }
    }
    assert_eq!(Type::of::<Way>(), Type::of::<one::Way>());
    assert_ne!(Type::of::<one::Way>(), Type::of::<other::Way>());
    assert_ne!(Type::of::<one::Point>(), Type::of::<other::Point>());
}

#[test]
fn an_alias_hides_which_name_is_which() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Aliased {
        #[serde(alias = "old")]
        new: u8,
    }
    assert_eq!(Type::of::<Aliased>(), None);
}
