//! A bounded part of a Gun graph in memory. Pure. Not here: which fields are taken ([`ham`](super::ham)), who asks.

use std::collections::{BTreeMap, HashMap};

use super::value::{Cell, Record};

/// Bytes a field costs besides its name and value.
const FIELD_COST: usize = 64;

/// How large a graph may become.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Names and values together, in bytes.
    pub bytes: usize,
    /// Fields of one node.
    pub fields: usize,
}

/// Nodes by soul.
#[derive(Debug)]
pub struct Graph {
    bounds: Bounds,
    nodes: HashMap<String, Node>,
    /// Souls by when they were last touched.
    order: BTreeMap<u64, String>,
    touches: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Node {
    fields: Record,
    bytes: usize,
    touched: u64,
}

/// There is no room for the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Graph {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, nodes: HashMap::new(), order: BTreeMap::new(), touches: 0, bytes: 0 }
    }

    /// Bytes in use.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// One field.
    pub fn cell(&self, soul: &str, key: &str) -> Option<&Cell> {
        self.nodes.get(soul)?.fields.get(key)
    }

    /// All known fields of a node.
    pub fn node(&self, soul: &str) -> Option<&Record> {
        self.nodes.get(soul).map(|node| &node.fields)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.nodes.iter().map(|(soul, node)| (soul, &node.fields))
    }

    /// Stores a field, whatever was there. Nothing is forgotten for it.
    pub fn set(&mut self, soul: &str, key: &str, cell: Cell) -> Result<(), Full> {
        let cost = key.len() + cell.value.size() + FIELD_COST;
        let old = self.cell(soul, key).map(|old| key.len() + old.value.size() + FIELD_COST);
        let new_node = if self.nodes.contains_key(soul) { 0 } else { soul.len() + FIELD_COST };
        let fields = self.nodes.get(soul).map_or(0, |node| node.fields.len());
        if old.is_none() && fields >= self.bounds.fields
            || self.bytes + cost + new_node - old.unwrap_or(0) > self.bounds.bytes
        {
            return Err(Full);
        }
        let node = self.nodes.entry(soul.to_owned()).or_insert_with(|| Node { bytes: new_node, ..Node::default() });
        node.bytes = node.bytes + cost - old.unwrap_or(0);
        self.bytes = self.bytes + cost + new_node - old.unwrap_or(0);
        node.fields.insert(key.to_owned(), cell);
        self.touch(soul);
        Ok(())
    }

    /// Whether a node has as many fields as any may have.
    pub fn is_full(&self, soul: &str) -> bool {
        self.nodes.get(soul).is_some_and(|node| node.fields.len() >= self.bounds.fields)
    }

    /// Marks a node as used.
    pub fn touch(&mut self, soul: &str) {
        if let Some(node) = self.nodes.get_mut(soul) {
            self.order.remove(&node.touched);
            self.touches += 1;
            node.touched = self.touches;
            self.order.insert(self.touches, soul.to_owned());
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, soul: &str) {
        if let Some(node) = self.nodes.remove(soul) {
            self.order.remove(&node.touched);
            self.bytes -= node.bytes;
        }
    }

    /// Forgets the node that was not used for longest, but not this one. False: there is no other.
    pub fn remove_oldest(&mut self, but: &str) -> bool {
        let oldest = self.order.values().find(|soul| *soul != but).cloned();
        if let Some(soul) = &oldest {
            self.remove(soul);
        }
        oldest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gun::value::Value;

    fn cell(text: &str) -> Cell {
        Cell { value: Value::from(text), state: 1.0 }
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut graph = Graph::new(Bounds { bytes: 10_000, fields: 10 });
        let mut refused = 0;
        for index in 0..1000 {
            let soul = format!("soul{}", index % 50);
            refused += usize::from(graph.set(&soul, &format!("key{index}"), cell("some text")).is_err());
            assert!(graph.bytes() <= 10_000);
        }
        assert!(refused > 0);
        for index in 0..20 {
            assert!(graph.set("one", &format!("{index}"), cell("")).is_err(), "no room for {index}");
        }
        let used = graph.bytes();
        while graph.remove_oldest("soul7") {}
        assert_eq!((graph.len(), graph.bytes() < used), (1, true));
        graph.remove("soul7");
        assert_eq!(graph.bytes(), 0);
        let results: Vec<bool> = (0..20).map(|index| graph.set("one", &format!("{index}"), cell("")).is_ok()).collect();
        assert_eq!(results.iter().filter(|taken| **taken).count(), 10);
    }

    #[test]
    fn what_is_used_is_kept_longest() {
        let mut graph = Graph::new(Bounds { bytes: 10_000, fields: 10 });
        for soul in ["a", "b", "c"] {
            graph.set(soul, "k", cell("v")).expect("room");
        }
        graph.touch("a");
        assert!(graph.remove_oldest("c"));
        let mut left: Vec<&String> = graph.nodes().map(|(soul, _)| soul).collect();
        left.sort();
        assert_eq!(left, ["a", "c"]);
        graph.set("a", "k", cell("longer than before")).expect("room");
        graph.set("a", "k", cell("")).expect("room");
        graph.remove("a");
        graph.remove("c");
        assert_eq!(graph.bytes(), 0);
    }
}
