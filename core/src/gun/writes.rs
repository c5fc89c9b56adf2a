//! Puts of a client on their way to the relays, and the states of the fields it has written. Pure. Not here: the links,
//! and the fields others write.
//!
//! No answer says little: stock relays answer nothing to fields that are older than theirs, and without a disk they
//! never answer. So a put without an answer is read back, and written again if somebody's field stands in its place.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::Now;
use super::interests::Entry;
use super::message::{Field, Message};
use super::names;
use super::value::{Cell, Value};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// Why a put has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// No relay has taken it in time.
    Timeout,
    /// A relay has refused it, for this reason.
    Refused(String),
}

/// The puts.
#[derive(Debug, Default)]
pub struct Writes {
    all: BTreeMap<u64, Write>,
    waiting: VecDeque<u64>,
    active: BTreeSet<u64>,
    timers: BTreeSet<(Time, u64)>,
    /// Message ids with the put and the part of it they carry.
    ids: HashMap<String, (u64, usize)>,
    /// Souls being read back.
    souls: HashMap<String, BTreeSet<u64>>,
    /// Own fields, by soul and key.
    states: HashMap<(String, String), Own>,
    /// How long the slowest answers took when the last one came.
    slowest: Duration,
    answered: Time,
    /// What was read back stood there, and no put was ever answered.
    silent: bool,
}

#[derive(Debug)]
struct Write {
    /// Parts that fit one message each: fields without their states.
    parts: Vec<Vec<(String, String, Value)>>,
    taken: Vec<bool>,
    ids: Vec<String>,
    deadline: Time,
    timer: Time,
    sent: Time,
    attempts: u32,
    /// It waits for what was read back.
    reading: bool,
    /// Fields that were read back as they were written.
    found: BTreeSet<(String, String)>,
    refused: Option<String>,
}

/// What is known of a field of our own.
#[derive(Debug)]
struct Own {
    /// Its latest state.
    state: f64,
    /// The last put of it. What an earlier one said is over: told again, it would be the last word. An earlier one of which
    /// nothing else is left ends well, and what became of the field is told by this one.
    put: u64,
}

/// What a put does next.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a step is acted on at once, never stored")]
pub enum Step {
    /// Send this to all relays.
    Send(Message),
    /// Ask all relays for this node.
    Read(String),
    /// It has ended.
    Done(u64, Result<(), WriteError>),
}

impl Writes {
    /// Puts that have not ended.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Own fields whose states are remembered.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// Takes a put over. False: too many wait.
    pub fn add(&mut self, id: u64, path: &[String], entry: &Entry, deadline: Time) -> bool {
        if self.all.len() >= limits::MAX_GUN_PUTS {
            return false;
        }
        let parts = split(fields(path, entry));
        let taken = vec![false; parts.len()];
        let write = Write {
            parts,
            taken,
            ids: Vec::new(),
            deadline,
            timer: deadline,
            sent: Time::ZERO,
            attempts: 0,
            reading: false,
            found: BTreeSet::new(),
            refused: None,
        };
        self.all.insert(id, write);
        self.timers.insert((deadline, id));
        self.waiting.push_back(id);
        true
    }

    /// Begins with puts that wait, as many as may be on their way at once.
    pub fn begin(&mut self, now: Now, random: &mut Jitter) -> Vec<Step> {
        let mut steps = Vec::new();
        while self.active.len() < limits::GUN_PUTS_IN_FLIGHT {
            let Some(id) = self.waiting.pop_front() else { break };
            if self.all.contains_key(&id) {
                self.active.insert(id);
                self.send(id, now, random, &mut steps);
            }
        }
        steps
    }

    /// Sends all again that are on their way, e.g. for a new link.
    pub fn again(&mut self, now: Now, random: &mut Jitter) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in self.active.clone() {
            self.send(id, now, random, &mut steps);
        }
        steps
    }

    /// A relay has answered a message.
    pub fn answered(&mut self, now: Now, answers: &str, ok: bool, error: Option<&str>) -> Vec<Step> {
        let Some((id, part)) = self.ids.get(answers).copied() else { return Vec::new() };
        let slowest = self.slowest_by(now);
        let Some(write) = self.all.get_mut(&id) else { return Vec::new() };
        if let Some(error) = error {
            // Another relay may still take it.
            write.refused = Some(error.to_owned());
            return Vec::new();
        }
        if !ok {
            return Vec::new();
        }
        write.taken[part] = true;
        if write.attempts == 1 {
            // Relays answer in bursts: what is quick in one of them says nothing of the next.
            self.slowest = slowest.max(now.time.since(write.sent));
            self.answered = now.time;
            self.silent = false;
        }
        if write.taken.iter().all(|taken| *taken) { vec![self.end(id, Ok(()))] } else { Vec::new() }
    }

    /// A field came from a relay. Own fields are then written with later states; puts that were reading back may end,
    /// or go out again.
    pub fn seen(&mut self, field: &Field, now: Now) {
        if let Some(known) = self.states.get_mut(&(field.soul.clone(), field.key.clone())) {
            // States from far in the future stay out: no relay holds them, and following them would lose our own.
            if field.cell.state <= now.wall_ms + limits::GUN_CLOCK_MARGIN.as_millis() as f64 {
                known.state = known.state.max(field.cell.state);
            }
        }
    }

    /// Whether the fields of this node are being read back.
    pub fn reads(&self, soul: &str) -> bool {
        self.souls.contains_key(soul)
    }

    /// All fields of one message that came for a node being read back.
    pub fn read(&mut self, soul: &str, fields: &[&Field], now: Now, random: &mut Jitter) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in self.souls.get(soul).cloned().unwrap_or_default() {
            let Some(write) = self.all.get_mut(&id).filter(|write| write.reading) else { continue };
            let mut lost = false;
            for (own_soul, key, value) in write.parts.iter().flatten().filter(|own| own.0 == soul) {
                let Some(field) = fields.iter().find(|field| field.key == *key) else { continue };
                if field.cell.value == *value || is_over(&self.states, id, own_soul, key) {
                    write.found.insert((own_soul.clone(), key.clone()));
                } else {
                    lost = true;
                }
            }
            // A node of ten fields comes in two messages.
            for (index, part) in write.parts.iter().enumerate() {
                let mut leaves = part.iter().filter(|own| leaf(own).is_some());
                write.taken[index] |= leaves.all(|own| write.found.contains(&(own.0.clone(), own.1.clone())));
            }
            if write.taken.iter().all(|taken| *taken) {
                self.silent |= self.slowest.is_zero();
                steps.push(self.end(id, Ok(())));
            } else if lost {
                self.send(id, now, random, &mut steps);
            }
        }
        steps
    }

    /// When something is due, unless no relay is there: then only deadlines count.
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now, connected: bool, random: &mut Jitter) -> Vec<Step> {
        let mut steps = Vec::new();
        // A relay that answers has mostly lost the way of its answer. To ask a stock relay while it splits its files is worse
        // than to tell it again: it then finds fields in the wrong file, and writes thousands of them again, many times.
        let busy = !self.slowest.is_zero() && self.active.len() >= limits::GUN_PUTS_TO_READ_BACK;
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now.time) {
            self.timers.remove(&(at, id));
            let Some((sent, attempts)) = self.all.get(&id).map(|write| (write.sent, write.attempts)) else { continue };
            // Others may have been sent after it, or answered slowly.
            let patient = sent + self.patience(attempts, now);
            let Some(write) = self.all.get_mut(&id) else { continue };
            if now.time >= write.deadline || write.attempts >= limits::GUN_PUT_ATTEMPTS {
                let error = write.refused.take().map_or(WriteError::Timeout, WriteError::Refused);
                steps.push(self.end(id, Err(error)));
            } else if !connected || !self.active.contains(&id) {
                let deadline = write.deadline;
                self.set_timer(id, deadline);
            } else if !write.reading && patient > now.time {
                self.set_timer(id, patient);
            } else if write.reading || busy {
                self.send(id, now, random, &mut steps);
            } else {
                write.reading = true;
                let leaves: BTreeSet<String> = write.parts.iter().flatten().filter_map(leaf).collect();
                for soul in leaves {
                    self.souls.entry(soul.clone()).or_default().insert(id);
                    steps.push(Step::Read(soul));
                }
                let wait = self.patience(attempts, now);
                self.set_timer(id, now.time + wait);
            }
        }
        steps
    }

    fn set_timer(&mut self, id: u64, at: Time) {
        let Some(write) = self.all.get_mut(&id) else { return };
        self.timers.remove(&(write.timer, id));
        write.timer = at.min(write.deadline);
        self.timers.insert((write.timer, id));
    }

    fn send(&mut self, id: u64, now: Now, random: &mut Jitter, steps: &mut Vec<Step>) {
        let Some(write) = self.all.get_mut(&id) else { return };
        write.attempts += 1;
        write.sent = now.time;
        write.reading = false;
        write.found.clear();
        if self.states.len() >= limits::MAX_GUN_OWN_FIELDS {
            // What is forgotten here is learnt again by reading back.
            self.states.clear();
        }
        for (index, part) in write.parts.iter().enumerate() {
            if write.taken[index] {
                continue;
            }
            let mut fields = Vec::with_capacity(part.len());
            for (soul, key, value) in part {
                // Links are told again: they say the same whoever writes them, and what they lead to may be news.
                if !matches!(value, Value::Link(_)) && is_over(&self.states, id, soul, key) {
                    continue;
                }
                let known = self.states.entry((soul.clone(), key.clone())).or_insert(Own { state: f64::MIN, put: id });
                // One step of states is what a double still tells apart at this magnitude.
                let state = (now.wall_ms - limits::GUN_CLOCK_MARGIN.as_millis() as f64).max(known.state + 0.001);
                *known = Own { state, put: id };
                let cell = Cell { value: value.clone(), state };
                fields.push(Field { soul: soul.clone(), key: key.clone(), cell });
            }
            write.taken[index] = fields.is_empty();
            if fields.is_empty() {
                continue;
            }
            let message = super::message_id(random);
            self.ids.insert(message.clone(), (id, index));
            write.ids.push(message.clone());
            steps.push(Step::Send(Message::put(message, fields)));
        }
        if write.taken.iter().all(|taken| *taken) {
            return steps.push(self.end(id, Ok(())));
        }
        let attempts = write.attempts;
        let wait = self.patience(attempts, now);
        self.set_timer(id, now.time + wait);
    }

    /// How long an answer is waited for, to a put or to the question what became of it. A relay that is slow because it has
    /// much to do gets ever more time: on a link that holds nothing is lost, and what is asked or sent again makes it slower.
    fn patience(&self, attempts: u32, now: Now) -> Duration {
        let each = limits::GUN_ACK_EACH * self.active.len() as u32;
        let queued = if self.silent { Duration::ZERO } else { self.slowest_by(now).max(each) };
        let least = limits::GUN_ACK_WAIT + 2 * queued;
        least.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(limits::MAX_GUN_ACK_WAIT)
    }

    fn slowest_by(&self, now: Now) -> Duration {
        let age = now.time.since(self.answered).as_secs_f64() / limits::GUN_SLOWEST_HALVES.as_secs_f64();
        self.slowest.mul_f64(0.5f64.powf(age))
    }

    fn end(&mut self, id: u64, result: Result<(), WriteError>) -> Step {
        if let Some(write) = self.all.remove(&id) {
            self.timers.remove(&(write.timer, id));
            for message in write.ids {
                self.ids.remove(&message);
            }
            for (soul, _, _) in write.parts.iter().flatten() {
                if let Some(ids) = self.souls.get_mut(soul) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.souls.remove(soul);
                    }
                }
            }
        }
        if !self.active.remove(&id) {
            self.waiting.retain(|waiting| *waiting != id);
        }
        Step::Done(id, result)
    }
}

/// The node of a field that is no link: links say the same whoever writes them.
fn leaf((soul, _, value): &(String, String, Value)) -> Option<String> {
    (!matches!(value, Value::Link(_))).then(|| soul.clone())
}

/// The fields of a put at a path: a link in every ancestor, and then the content.
fn fields(path: &[String], entry: &Entry) -> Vec<(String, String, Value)> {
    let nodes = match entry {
        Entry::Record(_) => path.len(),
        Entry::Value(_) => path.len() - 1,
    };
    let link = |depth: usize| {
        let to = Value::Link(names::soul(&path[..=depth]));
        (names::soul(&path[..depth]), path[depth].clone(), to)
    };
    let mut fields: Vec<(String, String, Value)> = (1..nodes).map(link).collect();
    let soul = names::soul(&path[..nodes]);
    match entry {
        Entry::Record(record) => {
            fields.extend(record.iter().map(|(key, cell)| (soul.clone(), key.clone(), cell.value.clone())));
        }
        Entry::Value(cell) => fields.push((soul, path[nodes].clone(), cell.value.clone())),
    }
    fields
}

fn split(fields: Vec<(String, String, Value)>) -> Vec<Vec<(String, String, Value)>> {
    let mut parts: Vec<Vec<(String, String, Value)>> = Vec::new();
    let mut bytes = 0;
    for field in fields {
        // The key stands there twice, the soul up to three times, the state has 18 characters.
        let size = 3 * field.0.len() + 2 * field.1.len() + field.2.size() + 64;
        match parts.last_mut() {
            Some(part) if part.len() < limits::GUN_PUT_FIELDS && bytes + size <= limits::GUN_PUT_BYTES => {
                bytes += size;
                part.push(field);
            }
            _ => {
                bytes = size;
                parts.push(vec![field]);
            }
        }
    }
    parts
}

/// Whether a later put than this one has written the field.
fn is_over(states: &HashMap<(String, String), Own>, put: u64, soul: &str, key: &str) -> bool {
    states.get(&(soul.to_owned(), key.to_owned())).is_some_and(|own| own.put > put)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { time: Time::ZERO + Duration::from_millis(ms), wall_ms: 1_800_000_000_000.0 + ms as f64 }
    }

    /// So many puts on their way, and the ids of their messages.
    fn begun(count: u64, random: &mut Jitter) -> (Writes, Vec<String>) {
        let mut writes = Writes::default();
        for id in 0..count {
            let entry = Entry::Value(Cell { value: Value::from("text"), state: 0.0 });
            assert!(writes.add(id, &["a".to_owned(), format!("{id}")], &entry, at(120_000).time));
        }
        let id = |step| match step {
            Step::Send(message) => message.id,
            other => panic!("{other:?}"),
        };
        let ids = writes.begin(at(0), random).into_iter().map(id).collect();
        (writes, ids)
    }

    /// What is sent and read when the next thing is due, and when that is.
    fn next(writes: &mut Writes, random: &mut Jitter) -> (usize, usize, u64) {
        loop {
            let due = writes.next_timeout().expect("something waits");
            let ms = due.as_micros().div_ceil(1000);
            let steps = writes.handle_timeout(at(ms), true, random);
            let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
            if !steps.is_empty() {
                return (count(|step| matches!(step, Step::Send(_))), count(|step| matches!(step, Step::Read(_))), ms);
            }
        }
    }

    #[test]
    fn a_busy_relay_that_answers_is_told_again_and_never_asked() {
        let mut random = Jitter::from_seed(1);
        let (mut writes, ids) = begun(512, &mut random);
        for id in &ids[..100] {
            let [Step::Done(_, Ok(()))] = writes.answered(at(3000), id, true, None)[..] else { panic!("not taken") };
        }
        // As long as those took is no time to ask.
        let (mut told, mut ms) = (0, 0);
        while told < 412 {
            let (sent, read, now) = next(&mut writes, &mut random);
            assert!(read == 0 && now > 6000, "{sent} sent, {read} read after {now} ms");
            (told, ms) = (told + sent, now);
        }
        for id in &ids[100..460] {
            assert_eq!(writes.answered(at(ms + 1), id, true, None).len(), 1, "an answer to the first of two");
        }
        let (sent, read, _) = next(&mut writes, &mut random);
        assert!(sent == 0 && read > 0, "few are read back");
    }

    #[test]
    fn a_relay_that_never_answers_is_asked_soon_once_that_is_known() {
        let mut random = Jitter::from_seed(1);
        let (mut writes, _) = begun(512, &mut random);
        let (sent, read, ms) = next(&mut writes, &mut random);
        assert!(sent == 0 && read == 512 && ms > 5000, "{sent} sent, {read} read after {ms} ms");
        let found: Vec<Field> = (0..512)
            .map(|id| Field {
                soul: "a".to_owned(),
                key: format!("{id}"),
                cell: Cell { value: Value::from("text"), state: 0.0 },
            })
            .collect();
        let steps = writes.read("a", &found.iter().collect::<Vec<_>>(), at(ms), &mut random);
        assert!(steps.len() == 512 && writes.is_empty());
        let entry = Entry::Value(Cell { value: Value::from("text"), state: 0.0 });
        assert!(writes.add(1000, &["a".to_owned(), "b".to_owned()], &entry, at(120_000).time));
        assert_eq!(writes.begin(at(ms), &mut random).len(), 1);
        let (_, read, later) = next(&mut writes, &mut random);
        assert_eq!((read, later), (1, ms + limits::GUN_ACK_WAIT.as_millis() as u64));
    }

    #[test]
    fn what_a_later_put_has_replaced_is_not_told_again() {
        let mut random = Jitter::from_seed(1);
        let (mut writes, ids) = begun(512, &mut random);
        // So that the relay counts as one that answers, and is busy.
        for id in &ids[400..] {
            assert_eq!(writes.answered(at(10), id, true, None).len(), 1);
        }
        let later = Entry::Value(Cell { value: Value::from("later"), state: 0.0 });
        assert!(writes.add(1000, &["a".to_owned(), "7".to_owned()], &later, at(120_000).time));
        let steps = writes.begin(at(20), &mut random);
        let [Step::Send(ref put)] = steps[..] else { panic!("{steps:?}") };
        let state = put.put.as_ref().expect("a put")[0].cell.state;
        assert_eq!(writes.answered(at(30), &put.id, true, None), [Step::Done(1000, Ok(()))]);
        let (mut again, mut ended) = (BTreeSet::new(), false);
        while again.len() < 399 {
            let due = writes.next_timeout().expect("something waits").as_micros().div_ceil(1000);
            for step in writes.handle_timeout(at(due), true, &mut random) {
                match step {
                    Step::Send(message) => again.extend(message.put.into_iter().flatten().map(|field| field.key)),
                    Step::Done(7, Ok(())) => ended = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(ended && !again.contains("7"));
        // Also when it is read back, what stands there is right.
        let (mut writes, _) = begun(10, &mut random);
        assert!(writes.add(1000, &["a".to_owned(), "7".to_owned()], &later, at(120_000).time));
        writes.begin(at(20), &mut random);
        let (_, read, ms) = next(&mut writes, &mut random);
        assert!(read > 0);
        let field =
            Field { soul: "a".to_owned(), key: "7".to_owned(), cell: Cell { value: Value::from("later"), state } };
        assert_eq!(writes.read("a", &[&field], at(ms), &mut random), [Step::Done(7, Ok(()))]);
    }
}
