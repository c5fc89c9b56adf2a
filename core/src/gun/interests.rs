//! Subscriptions of a client: which nodes a path leads to, which of them must be asked for, and what a change of one
//! means for a subscriber. Pure. Not here: relays, and the fields themselves ([`graph`](super::graph)).
//!
//! gun.js gives a path the soul of its segments joined by `/` and writes a link to it into every ancestor, but sets and
//! foreign writers link to souls of any name. So both are followed: the computed soul, and where the links lead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::graph::Graph;
use super::message::{Field, Keys};
use super::names;
use super::value::{Cell, Record, Value};
use crate::base::limits;

/// A question that is asked again on every new link: a node, and one of its fields or all.
pub type Want = (String, Option<String>);

/// What a child of a subscribed node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A plain value; null for a child that was taken away.
    Value(Cell),
    /// The fields of the node it links to, as far as they have come.
    Record(Record),
}

/// News of one child of a subscribed node.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The child's name. Empty: the subscribed node itself was replaced by this value in its parent.
    pub key: String,
    /// What it is now.
    pub entry: Entry,
}

/// All subscriptions.
#[derive(Debug)]
pub struct Interests {
    all: BTreeMap<u64, Interest>,
    wanted: HashMap<String, BTreeMap<Option<String>, BTreeSet<u64>>>,
    seed: u64,
}

/// What follows from new links.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// What has to be asked for in addition.
    pub ask: Vec<Want>,
    /// Nodes that nobody wants any more.
    pub forget: Vec<String>,
}

#[derive(Debug, Default)]
struct Interest {
    path: Vec<String>,
    /// Fields that link to the subscribed node.
    doors: BTreeSet<(String, String)>,
    /// The nodes the path leads to.
    ends: BTreeSet<String>,
    /// Nodes of children, with the names of those.
    children: BTreeMap<String, BTreeSet<String>>,
    wants: BTreeSet<Want>,
}

impl Interests {
    /// None yet. The seed chooses among children when there are too many, unpredictably for others.
    pub fn new(seed: u64) -> Self {
        Self { all: BTreeMap::new(), wanted: HashMap::new(), seed }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds one and returns what to ask for.
    pub fn add(&mut self, id: u64, path: Vec<String>, graph: &Graph) -> Vec<Want> {
        self.all.insert(id, Interest { path, ..Interest::default() });
        self.refresh(id, graph).ask
    }

    /// Ends one and returns the souls that nobody wants any more.
    pub fn remove(&mut self, id: u64) -> Vec<String> {
        let Some(interest) = self.all.remove(&id) else { return Vec::new() };
        interest.wants.iter().filter_map(|want| self.release(id, want)).collect()
    }

    /// Whether this field is of interest to anybody.
    pub fn want(&self, soul: &str, key: &str) -> bool {
        self.wanted.get(soul).is_some_and(|keys| keys.contains_key(&None) || keys.contains_key(&Some(key.to_owned())))
    }

    /// Every question, each once.
    pub fn questions(&self) -> impl Iterator<Item = (&str, Keys)> {
        self.wanted.iter().flat_map(|(soul, keys)| {
            // Who wants all fields needs no further question for one of them.
            let all = keys.contains_key(&None);
            let keys = keys.keys().filter(move |key| !all || key.is_none());
            keys.map(move |key| (soul.as_str(), key.clone().map_or(Keys::All, Keys::One)))
        })
    }

    /// Looks where a path leads now.
    pub fn refresh(&mut self, id: u64, graph: &Graph) -> Refreshed {
        let mut done = Refreshed::default();
        let Some(interest) = self.all.get_mut(&id) else { return done };
        let mut wants = BTreeSet::new();
        let mut ends = BTreeSet::from([interest.path[0].clone()]);
        interest.doors.clear();
        for depth in 1..interest.path.len() {
            let key = &interest.path[depth];
            let mut next = BTreeSet::from([names::soul(&interest.path[..=depth])]);
            let last = depth + 1 == interest.path.len();
            for soul in ends {
                if let Some(Cell { value: Value::Link(to), .. }) = graph.cell(&soul, key)
                    && next.len() < limits::MAX_GUN_ALTERNATIVES
                {
                    next.insert(to.clone());
                }
                if last {
                    interest.doors.insert((soul.clone(), key.clone()));
                }
                wants.insert((soul, Some(key.clone())));
            }
            ends = next;
        }
        interest.children.clear();
        for (soul, key) in children(&ends, graph, self.seed) {
            interest.children.entry(soul).or_default().insert(key);
        }
        wants.extend(interest.children.keys().chain(&ends).map(|soul| (soul.clone(), None)));
        interest.ends = ends;
        let old = std::mem::replace(&mut interest.wants, wants.clone());
        done.forget.extend(old.difference(&wants).filter_map(|gone| self.release(id, gone)));
        for (soul, key) in wants {
            let ids = self.wanted.entry(soul.clone()).or_default().entry(key.clone()).or_default();
            if ids.is_empty() {
                done.ask.push((soul, key));
            }
            ids.insert(id);
        }
        done.forget.retain(|soul| !self.wanted.contains_key(soul));
        done
    }

    /// Subscriptions that a change of this field may concern.
    pub fn concerned(&self, soul: &str, key: &str) -> BTreeSet<u64> {
        let Some(keys) = self.wanted.get(soul) else { return BTreeSet::new() };
        let wanted = [None, Some(key.to_owned())];
        wanted.iter().filter_map(|wanted| keys.get(wanted)).flatten().copied().collect()
    }

    /// What a subscriber is told after this field changed.
    pub fn updates(&self, id: u64, soul: &str, key: &str, graph: &Graph) -> Vec<Update> {
        let Some(interest) = self.all.get(&id) else { return Vec::new() };
        let mut updates = Vec::new();
        if interest.ends.contains(soul) {
            updates.extend(interest.child(key, graph));
        }
        for child in interest.children.get(soul).into_iter().flatten() {
            updates.extend(interest.child(child, graph));
        }
        if interest.doors.iter().any(|door| door.0 == soul && door.1 == key) {
            updates.extend(interest.replaced(graph));
        }
        updates
    }

    /// What subscribers are told of a field that there is no room for: plain children only, and each time it comes.
    pub fn unstored(&self, field: &Field) -> Vec<(u64, Update)> {
        if matches!(field.cell.value, Value::Link(_)) {
            return Vec::new();
        }
        let update = Update { key: field.key.clone(), entry: Entry::Value(field.cell.clone()) };
        let ends_there = |id: &u64| self.all.get(id).is_some_and(|interest| interest.ends.contains(&field.soul));
        let concerned = self.concerned(&field.soul, &field.key).into_iter().filter(ends_there);
        concerned.map(|id| (id, update.clone())).collect()
    }

    /// Everything known of a subscription.
    pub fn known(&self, id: u64, graph: &Graph) -> Vec<Update> {
        let Some(interest) = self.all.get(&id) else { return Vec::new() };
        let keys: BTreeSet<&String> =
            interest.ends.iter().filter_map(|soul| graph.node(soul)).flat_map(Record::keys).collect();
        let children = keys.into_iter().filter_map(|key| interest.child(key, graph));
        children.chain(interest.replaced(graph)).collect()
    }

    /// The fields of the node a path leads to. `None`: nothing has come of it, or it was taken away; in that case the
    /// second part is true.
    pub fn record(&self, id: u64, graph: &Graph) -> (Option<Record>, bool) {
        let Some(interest) = self.all.get(&id) else { return (None, false) };
        if interest.replaced(graph).is_some() {
            return (None, true);
        }
        let mut record = Record::new();
        for (key, cell) in interest.ends.iter().filter_map(|soul| graph.node(soul)).flatten() {
            match record.get(key) {
                Some(other) if other.state >= cell.state => {}
                _ => drop(record.insert(key.clone(), cell.clone())),
            }
        }
        (Some(record).filter(|record| !record.is_empty()), false)
    }

    /// One interest less in this; the soul if nobody wants anything of it any more.
    fn release(&mut self, id: u64, (soul, key): &Want) -> Option<String> {
        let keys = self.wanted.get_mut(soul)?;
        if let Some(ids) = keys.get_mut(key) {
            ids.remove(&id);
            if ids.is_empty() {
                keys.remove(key);
            }
        }
        keys.is_empty().then(|| {
            self.wanted.remove(soul);
            soul.clone()
        })
    }
}

impl Interest {
    /// A child as it is now; `None` while it is a link whose node has not come.
    fn child(&self, key: &str, graph: &Graph) -> Option<Update> {
        let cells = self.ends.iter().filter_map(|soul| graph.cell(soul, key));
        let cell = cells.max_by(|one, other| one.state.total_cmp(&other.state))?;
        let entry = match &cell.value {
            Value::Link(soul) if self.children.contains_key(soul) => Entry::Record(graph.node(soul)?.clone()),
            Value::Link(_) => return None,
            _ => Entry::Value(cell.clone()),
        };
        Some(Update { key: key.to_owned(), entry })
    }

    /// The value that stands in the parent where the link to the node should be.
    fn replaced(&self, graph: &Graph) -> Option<Update> {
        let cells = self.doors.iter().filter_map(|(soul, key)| graph.cell(soul, key));
        let cell = cells.max_by(|one, other| one.state.total_cmp(&other.state))?;
        let linked = matches!(cell.value, Value::Link(_));
        (!linked).then(|| Update { key: String::new(), entry: Entry::Value(cell.clone()) })
    }
}

/// Children that are nodes: their souls and names. If there are too many, a choice that nobody outside can steer.
fn children(ends: &BTreeSet<String>, graph: &Graph, seed: u64) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, cell) in ends.iter().filter_map(|soul| graph.node(soul)).flatten() {
        if let Value::Link(soul) = &cell.value {
            found.push((soul.clone(), key.clone()));
        }
    }
    if found.len() > limits::MAX_GUN_CHILDREN {
        found.sort_by_cached_key(|(_, key)| {
            let mut hasher = DefaultHasher::new();
            (seed, key).hash(&mut hasher);
            hasher.finish()
        });
        found.truncate(limits::MAX_GUN_CHILDREN);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gun::graph::Bounds;

    /// Each link that somebody else wrote doubles where a path may lead.
    #[test]
    fn links_that_disagree_lead_to_few_nodes_and_the_computed_one_is_among_them() {
        let mut graph = Graph::new(Bounds { bytes: 1 << 20, fields: 1000 });
        let path: Vec<String> = (0..12).map(|depth| format!("part{depth}")).collect();
        // Every node that the path passes links to yet another one.
        let mut ends = vec![path[0].clone()];
        for (depth, key) in path.iter().enumerate().skip(1) {
            let mut next = vec![names::soul(&path[..=depth])];
            for (number, soul) in ends.iter().enumerate() {
                let to = format!("stranger/{depth}/{number}");
                let link = Cell { value: Value::Link(to.clone()), state: 1.0 };
                graph.set(soul, key, link).expect("room");
                next.push(to);
            }
            ends = next;
        }
        let mut interests = Interests::new(1);
        interests.add(1, path.clone(), &graph);
        let interest = &interests.all[&1];
        assert_eq!(interest.ends.len(), limits::MAX_GUN_ALTERNATIVES);
        assert!(interest.ends.contains(&names::soul(&path)));
        let questions = interests.questions().count();
        assert!(questions <= path.len() * limits::MAX_GUN_ALTERNATIVES, "{questions} questions");
    }
}
