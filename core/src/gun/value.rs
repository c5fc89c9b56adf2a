//! The values a Gun graph holds, and their JSON text exactly as JavaScript writes it. Not here: which of two values wins
//! ([`ham`](super::ham)).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::base::limits;

/// A value of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing; a field that was taken away.
    Null,
    /// True or false.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    Text(String),
    /// Another node, by its soul.
    Link(String),
}

/// A value with the state that says how late it was written, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What is written.
    pub value: Value,
    /// When, by the writer's clock. Zero if unknown.
    pub state: f64,
}

/// The fields of one node.
pub type Record = BTreeMap<String, Cell>;

impl Value {
    /// Reads a value; `None` for what a graph cannot hold: lists, other objects, and texts that are too long.
    pub fn from_json(json: &Json) -> Option<Self> {
        Some(match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.as_f64().filter(|number| number.is_finite())?),
            Json::String(text) if text.len() <= limits::MAX_GUN_VALUE_BYTES => Self::Text(text.clone()),
            Json::Object(fields) if fields.len() == 1 => {
                let soul = fields.get("#")?.as_str()?;
                let fits = !soul.is_empty() && soul.len() <= limits::MAX_GUN_NAME_BYTES;
                fits.then(|| Self::Link(soul.to_owned()))?
            }
            Json::String(_) | Json::Array(_) | Json::Object(_) => return None,
        })
    }

    /// The value for a message.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(number) => number_to_json(*number),
            Self::Text(text) => Json::String(text.clone()),
            Self::Link(soul) => {
                let mut link = Map::new();
                link.insert("#".to_owned(), Json::String(soul.clone()));
                Json::Object(link)
            }
        }
    }

    /// What `JSON.stringify` of JavaScript writes for it.
    pub fn js_text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => js_number(*number),
            Self::Text(text) => Json::from(text.as_str()).to_string(),
            Self::Link(soul) => format!("{{\"#\":{}}}", Json::from(soul.as_str())),
        }
    }

    /// The order of two values as JavaScript compares their texts: by UTF-16 units.
    pub fn js_order(&self, other: &Self) -> Ordering {
        self.js_text().encode_utf16().cmp(other.js_text().encode_utf16())
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one, or text that is one: old records have both.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// Bytes it takes in memory and in messages, roughly.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 8,
            Self::Text(text) | Self::Link(text) => text.len() + 8,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Whole numbers without `.0`, as JavaScript writes them. Anything that is not finite becomes null.
pub fn number_to_json(number: f64) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Json::from(number as i64);
    }
    serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number)
}

/// ECMAScript's `Number::toString` for base 10.
fn js_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    // The shortest digits that read back the same, which is what ECMAScript asks for too.
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    let mut text = String::from(if number < 0.0 { "-" } else { "" });
    // Writing to a `String` cannot fail.
    if (count..=21).contains(&point) {
        let _ = write!(text, "{digits}{}", "0".repeat((point - count) as usize));
    } else if (1..=21).contains(&point) {
        let (whole, part) = digits.split_at(point as usize);
        let _ = write!(text, "{whole}.{part}");
    } else if (-5..=0).contains(&point) {
        let _ = write!(text, "0.{}{digits}", "0".repeat((-point) as usize));
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let _ = write!(text, "{first}{dot}{rest}e{:+}", point - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (5.0, "5"),
            (-1.5, "-1.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-7, "1.25e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1_795_342_348_186.001, "1795342348186.001"),
        ] {
            assert_eq!(js_number(number), text);
        }
    }

    #[test]
    fn texts_and_links_are_written_as_javascript_does() {
        assert_eq!(Value::from("a\"\\\u{1}\n\u{7f}é/").js_text(), "\"a\\\"\\\\\\u0001\\n\u{7f}é/\"");
        assert_eq!(Value::Link("a/b".into()).js_text(), "{\"#\":\"a/b\"}");
    }

    #[test]
    fn the_order_is_that_of_utf16() {
        let sorted = [
            // U+1F600 is written with units below U+FF5E, though its code point is above.
            Value::from("\u{1F600}"),
            Value::from("\u{FF5E}"),
            Value::Number(10.0),
            Value::Number(9.0),
            Value::Bool(false),
            Value::Null,
            Value::Bool(true),
            Value::Link("a".into()),
        ];
        for pair in sorted.windows(2) {
            assert_eq!(pair[0].js_order(&pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn what_a_graph_cannot_hold_is_refused() {
        for text in ["[]", "{}", "{\"#\":\"a\",\"b\":1}", "{\"#\":\"\"}", "{\"#\":5}", "{\"x\":\"a\"}"] {
            let json: Json = serde_json::from_str(text).expect("JSON");
            assert_eq!(Value::from_json(&json), None, "{text}");
        }
        let long = Json::String("a".repeat(limits::MAX_GUN_VALUE_BYTES + 1));
        assert_eq!(Value::from_json(&long), None);
    }

    #[test]
    fn values_survive_a_message() {
        for value in [Value::Null, true.into(), 1.5.into(), 7.0.into(), "é".into(), Value::Link("s".into())] {
            assert_eq!(Value::from_json(&value.to_json()), Some(value));
        }
        assert_eq!(number_to_json(1_795_342_348_186.0).to_string(), "1795342348186");
    }
}
