//! Gun's messages and the frames that carry them: text to typed messages and back. Pure. Not here: what is done with
//! them.
//!
//! A frame is one JSON object, or a list of objects and of texts that are JSON objects themselves. What is wrong in a
//! message is left out field by field, as stock peers do; what is no message at all is [`Malformed`].

use serde_json::{Map, Value as Json, json};

use super::names;
use super::value::{Cell, Value, number_to_json};
use crate::base::limits;

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`limits::MAX_GUN_PARSED_BYTES`].
    TooLarge,
    /// No JSON, or neither an object nor a list.
    NotJson,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Its id, by which repetitions are known. Empty: the sender gave none.
    pub id: String,
    /// The id of the message that this answers.
    pub answers: Option<String>,
    /// What is asked for.
    pub get: Option<Get>,
    /// Fields to store, or the answer to a get.
    pub put: Option<Vec<Field>>,
    /// A put was accepted.
    pub ok: bool,
    /// A put was refused, for this reason.
    pub error: Option<String>,
    /// Talk between neighbours: its verb and the sender's process id.
    pub dam: Option<Dam>,
    /// Peers that have it already, by process id.
    pub seen_by: Vec<String>,
    /// An answer of which further parts follow, or went ahead.
    pub more: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Get {
    /// The node.
    pub soul: String,
    /// Which of its fields.
    pub keys: Keys,
}

/// Which fields of a node are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keys {
    /// All.
    All,
    /// One.
    One(String),
    /// Those that begin with a text and lie between two others, both included.
    Range {
        /// Beginning of the key; empty for any.
        prefix: String,
        /// Not before this.
        from: Option<String>,
        /// Not after this.
        to: Option<String>,
    },
}

/// One field of a put.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The node.
    pub soul: String,
    /// The field's name.
    pub key: String,
    /// Its value and state.
    pub cell: Cell,
}

/// Talk between neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Dam {
    /// `?` asks who the neighbour is; others are not acted on.
    pub verb: String,
    /// The sender's process id, if it told one.
    pub pid: Option<String>,
}

impl Keys {
    /// Whether a key is meant.
    pub fn fit(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == key,
            Self::Range { prefix, from, to } => {
                key.starts_with(prefix.as_str())
                    && from.as_deref().is_none_or(|from| from <= key)
                    && to.as_deref().is_none_or(|to| key <= to)
            }
        }
    }
}

/// Reads a frame. Messages beyond [`limits::MAX_GUN_BATCH`] and those that are none are left out.
pub fn decode(text: &str) -> Result<Vec<Message>, Malformed> {
    if text.len() > limits::MAX_GUN_PARSED_BYTES {
        return Err(Malformed::TooLarge);
    }
    let json: Json = serde_json::from_str(text).map_err(|_| Malformed::NotJson)?;
    let one = |json: &Json| match json {
        Json::Object(fields) => Some(message(fields)),
        // A batch of texts, which is how stock peers save themselves writing a message twice.
        Json::String(text) => match serde_json::from_str(text) {
            Ok(Json::Object(fields)) => Some(message(&fields)),
            _ => None,
        },
        _ => None,
    };
    match &json {
        Json::Object(fields) => Ok(vec![message(fields)]),
        Json::Array(items) => Ok(items.iter().take(limits::MAX_GUN_BATCH).filter_map(one).collect()),
        _ => Err(Malformed::NotJson),
    }
}

fn message(fields: &Map<String, Json>) -> Message {
    Message {
        id: fields.get("#").and_then(id).unwrap_or_default(),
        answers: fields.get("@").and_then(id),
        get: fields.get("get").and_then(Json::as_object).and_then(get),
        put: fields.get("put").and_then(Json::as_object).map(put),
        ok: is_true(fields.get("ok")),
        error: fields.get("err").and_then(error),
        dam: fields.get("dam").and_then(Json::as_str).map(|verb| Dam {
            verb: verb.chars().take(limits::MAX_GUN_ID_BYTES).collect(),
            pid: fields.get("pid").and_then(id),
        }),
        seen_by: fields.get("><").and_then(Json::as_str).map(seen_by).unwrap_or_default(),
        more: fields.get("@").is_some() && is_true(fields.get("%")),
    }
}

fn is_true(json: Option<&Json>) -> bool {
    match json {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(Json::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    }
}

/// Ids are texts, but numbers are accepted by stock peers.
fn id(json: &Json) -> Option<String> {
    match json {
        Json::String(text) if !text.is_empty() && text.len() <= limits::MAX_GUN_ID_BYTES => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn error(json: &Json) -> Option<String> {
    match json {
        Json::Null | Json::Bool(false) => None,
        Json::String(text) => Some(text.chars().take(200).collect()),
        other => Some(other.to_string().chars().take(200).collect()),
    }
}

fn seen_by(list: &str) -> Vec<String> {
    list.chars().take(99).collect::<String>().split(',').filter(|pid| !pid.is_empty()).map(str::to_owned).collect()
}

fn get(fields: &Map<String, Json>) -> Option<Get> {
    let soul = fields.get("#")?.as_str().filter(|soul| names::is_safe(soul))?.to_owned();
    let keys = match fields.get(".") {
        None | Some(Json::Null) => Keys::All,
        Some(Json::String(key)) => Keys::One(names::is_safe(key).then(|| key.clone())?),
        Some(Json::Object(lex)) => {
            let text = |name: &str| {
                lex.get(name).and_then(Json::as_str).filter(|text| text.len() <= limits::MAX_GUN_NAME_BYTES)
            };
            match text("=") {
                Some(key) => Keys::One(names::is_safe(key).then(|| key.to_owned())?),
                None => Keys::Range {
                    prefix: text("*").unwrap_or_default().to_owned(),
                    from: text(">").map(str::to_owned),
                    to: text("<").map(str::to_owned),
                },
            }
        }
        Some(_) => return None,
    };
    Some(Get { soul, keys })
}

/// The fields of a graph that have all they need: a soul, a key, a value a graph can hold, and a state.
fn put(graph: &Map<String, Json>) -> Vec<Field> {
    let mut found = Vec::new();
    for (soul, node) in graph {
        let Some(node) = node.as_object().filter(|_| names::is_safe(soul)) else { continue };
        let Some(meta) = node.get("_").and_then(Json::as_object) else { continue };
        let Some(states) = meta.get(">").and_then(Json::as_object) else { continue };
        if meta.get("#").and_then(Json::as_str) != Some(soul) {
            continue;
        }
        for (key, value) in node.iter().filter(|(key, _)| names::is_safe(key)) {
            if found.len() >= limits::MAX_GUN_FIELDS_PER_MESSAGE {
                return found;
            }
            let state = states.get(key).and_then(Json::as_f64).filter(|state| state.is_finite());
            let (Some(state), Some(value)) = (state, Value::from_json(value)) else { continue };
            found.push(Field { soul: soul.clone(), key: key.clone(), cell: Cell { value, state } });
        }
    }
    found
}

impl Message {
    /// A question.
    pub fn get(id: String, soul: &str, keys: Keys) -> Self {
        Self { id, get: Some(Get { soul: soul.to_owned(), keys }), ..Self::default() }
    }

    /// Fields to store.
    pub fn put(id: String, fields: Vec<Field>) -> Self {
        Self { id, put: Some(fields), ..Self::default() }
    }

    /// The JSON object of it.
    pub fn encode(&self) -> String {
        let mut fields = Map::new();
        fields.insert("#".to_owned(), json!(self.id));
        if let Some(answers) = &self.answers {
            fields.insert("@".to_owned(), json!(answers));
        }
        if let Some(get) = &self.get {
            fields.insert("get".to_owned(), encode_get(get));
        }
        if let Some(put) = &self.put {
            fields.insert("put".to_owned(), encode_put(put));
        }
        if self.ok {
            fields.insert("ok".to_owned(), json!(true));
        }
        if let Some(error) = &self.error {
            fields.insert("err".to_owned(), json!(error));
        }
        if let Some(dam) = &self.dam {
            fields.insert("dam".to_owned(), json!(dam.verb));
            if let Some(pid) = &dam.pid {
                fields.insert("pid".to_owned(), json!(pid));
            }
        }
        if self.more {
            fields.insert("%".to_owned(), json!(1));
        }
        if !self.seen_by.is_empty() {
            fields.insert("><".to_owned(), json!(self.seen_by.join(",")));
        }
        Json::Object(fields).to_string()
    }
}

fn encode_get(get: &Get) -> Json {
    let mut question = Map::new();
    question.insert("#".to_owned(), json!(get.soul));
    match &get.keys {
        Keys::All => {}
        Keys::One(key) => drop(question.insert(".".to_owned(), json!(key))),
        Keys::Range { prefix, from, to } => {
            let mut lex = Map::new();
            lex.insert("*".to_owned(), json!(prefix));
            for (name, bound) in [(">", from), ("<", to)] {
                if let Some(bound) = bound {
                    lex.insert(name.to_owned(), json!(bound));
                }
            }
            question.insert(".".to_owned(), Json::Object(lex));
            // Without a budget a stock relay answers with one entry.
            question.insert("%".to_owned(), json!(50_000));
        }
    }
    Json::Object(question)
}

fn encode_put(put: &[Field]) -> Json {
    let mut graph: Map<String, Json> = Map::new();
    for Field { soul, key, cell } in put {
        let node = graph.entry(soul.clone()).or_insert_with(|| json!({ "_": { "#": soul, ">": {} } }));
        node["_"][">"][key] = number_to_json(cell.state);
        node[key] = cell.value.to_json();
    }
    Json::Object(graph)
}

/// Packs encoded messages into frames of at most [`limits::GUN_BATCH_BYTES`], or one message alone.
pub fn pack<Text: AsRef<str> + From<String>>(messages: impl IntoIterator<Item = Text>) -> Vec<Text> {
    let mut frames = Vec::new();
    let mut batch: Vec<Text> = Vec::new();
    let mut bytes = 0;
    let mut close = |batch: &mut Vec<Text>| match batch.len() {
        0 => {}
        1 => frames.push(batch.remove(0)),
        _ => {
            let all: Vec<&str> = batch.iter().map(AsRef::as_ref).collect();
            frames.push(format!("[{}]", all.join(",")).into());
            batch.clear();
        }
    };
    for message in messages {
        let length = message.as_ref().len();
        if bytes + length + 2 > limits::GUN_BATCH_BYTES {
            close(&mut batch);
            bytes = 0;
        }
        bytes += length + 1;
        batch.push(message);
    }
    close(&mut batch);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(soul: &str, key: &str, value: impl Into<Value>, state: f64) -> Field {
        Field { soul: soul.into(), key: key.into(), cell: Cell { value: value.into(), state } }
    }

    #[test]
    fn what_a_stock_relay_sends_is_read() {
        let text = r###"[{"#":"a","dam":"?","pid":"P"},"{\"#\":\"b\",\"@\":\"q\",\"##\":-7,\"FOO\":1,\"put\":{\"dig\":{\"_\":{\"#\":\"dig\",\">\":{\"hostA\":1.5}},\"hostA\":{\"#\":\"dig/hostA\"}}}}",7]"###;
        let read = decode(text).expect("a batch");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].dam, Some(Dam { verb: "?".into(), pid: Some("P".into()) }));
        assert_eq!(read[1].answers.as_deref(), Some("q"));
        assert_eq!(read[1].put, Some(vec![field("dig", "hostA", Value::Link("dig/hostA".into()), 1.5)]));
        let acks = decode(r##"[{"#":1,"@":2,"ok":true},{"#":"x","@":"y","ok":{"":1}},{"#":"x","@":"y","err":"no"}]"##);
        let acks = acks.expect("a batch");
        assert_eq!((acks[0].id.as_str(), acks[0].answers.as_deref(), acks[0].ok), ("1", Some("2"), true));
        assert!(acks[1].ok && !acks[2].ok);
        assert_eq!(acks[2].error.as_deref(), Some("no"));
        assert!(decode("[]").expect("a keepalive").is_empty());
    }

    #[test]
    fn what_was_written_is_read() {
        let ranges = Keys::Range { prefix: "a".into(), from: Some("ab".into()), to: None };
        let messages = [
            Message {
                answers: Some("9".into()),
                more: true,
                ..Message::put("7".into(), vec![field("a", "b", 1.0, 5.0)])
            },
            Message::get("1".into(), "a/b", Keys::All),
            Message::get("2".into(), "a/b", Keys::One("c".into())),
            Message::get("3".into(), "a/b", ranges),
            Message::put("4".into(), vec![field("a", "b", Value::Null, 5.0), field("a", "c", "x", 6.25)]),
            Message { id: "5".into(), answers: Some("4".into()), ok: true, ..Message::default() },
            Message { id: "6".into(), error: Some("no".into()), seen_by: vec!["p".into()], ..Message::default() },
        ];
        for message in &messages {
            assert_eq!(decode(&message.encode()).expect("ours"), std::slice::from_ref(message));
        }
        let frames = pack(messages.iter().map(Message::encode));
        assert_eq!(frames.len(), 1);
        assert_eq!(decode(&frames[0]).expect("ours"), messages);
    }

    #[test]
    fn frames_are_packed_within_their_bound() {
        let large = Message::put("1".into(), vec![field("a", "b", "x".repeat(20_000), 1.0)]).encode();
        let small = Message::get("2".into(), "a", Keys::All).encode();
        let all: Vec<String> = (0..1000).map(|_| small.clone()).chain([large.clone(), small.clone()]).collect();
        let frames = pack(all);
        assert!(frames.iter().all(|frame| frame.len() <= limits::GUN_BATCH_BYTES || *frame == large));
        let count: usize = frames.iter().map(|frame| decode(frame).expect("ours").len()).sum();
        assert_eq!(count, 1002);
    }

    #[test]
    fn broken_parts_are_left_out() {
        let bad = r##"{"#":"m","put":{
            "constructor":{"_":{"#":"constructor",">":{"a":1}},"a":1},
            "none":{"a":1},
            "other":{"_":{"#":"else",">":{"a":1}},"a":1},
            "mixed":{"_":{"#":"mixed",">":{"a":1,"b":"2","c":3,"toString":1,"d":1}},"a":[1],"b":2,"c":3,"toString":1,"e":1},
            "":{"_":{"#":"",">":{"a":1}},"a":1}}}"##;
        let read = decode(bad).expect("JSON");
        assert_eq!(read[0].put, Some(vec![field("mixed", "c", 3.0, 3.0)]));
        for text in ["", "x", "5", "\"a\"", "{", "[", "[{\"#\"", "null", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(decode(text), Err(Malformed::NotJson), "{text}");
        }
        assert_eq!(decode(&" ".repeat(limits::MAX_GUN_PARSED_BYTES + 1)), Err(Malformed::TooLarge));
        assert_eq!(decode(&"[".repeat(10_000)), Err(Malformed::NotJson));
        let get = decode(r##"[{"get":{"#":"constructor"}},{"get":{"#":5}},{"get":{"#":"a",".":5}},{"get":[]}]"##);
        assert!(get.expect("JSON").iter().all(|message| message.get.is_none()));
    }
}
