//! The different descriptions that sources claim for one hash, and fetching their states.
//! Not here: deciding between them (`disputes`).

use bytes::{Bytes, BytesMut};

use super::messages::SourceId;
use super::sources::Origin;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::time::Time;
use crate::content::description::Description;
use crate::content::layout::PieceLayout;
use crate::content::rivals::Decision;
use crate::wire::transfer::Span;

/// A description as claimed by one or more sources: identified by length and digest.
#[derive(Debug)]
pub struct Claim {
    /// Claimed layout (follows from the claimed length).
    pub layout: PieceLayout,
    /// Claimed digest.
    pub digest: [u8; 32],
    /// File name given by the first source.
    pub name: String,
    /// When it was first heard of.
    pub since: Time,
    /// The states, fetched range by range.
    pub ranges: Vec<StateRange>,
    /// After a failed attempt: all ranges must come from this source.
    pub sole: Option<SourceId>,
    /// An attempt with ranges from several sources gave the wrong digest.
    pub contested: bool,
    /// The ranges of that attempt.
    pub suspects: Vec<(usize, Origin, Bytes)>,
    /// The description, once all states are here and have the claimed digest.
    pub description: Option<Description>,
    /// What decides between the description with this number and this one.
    pub against: Option<(u32, Decision)>,
    /// The piece that is fetched to decide against the description that is believed.
    pub trial: Option<Trial>,
}

/// A range of states.
#[derive(Debug)]
pub struct StateRange {
    /// Boundary of the first state.
    pub first: u32,
    /// Number of states.
    pub count: u32,
    /// The states, as received.
    pub states: Option<(Origin, Bytes)>,
    /// Who was asked, and when.
    pub asked: Option<(SourceId, Time)>,
}

/// A piece being fetched from one supporter of a rival description.
#[derive(Debug)]
pub struct Trial {
    /// Which piece, under the rival description.
    pub piece: u32,
    /// Who is asked for it.
    pub origin: Origin,
    /// The blocks, in order.
    pub blocks: Vec<Option<Bytes>>,
    /// Where each block lies.
    pub spans: Vec<Span>,
    /// The first block that was not asked for yet.
    pub next: usize,
    /// All blocks are here and being checked.
    pub checking: bool,
}

/// What came of a range of states.
#[derive(Debug, PartialEq, Eq)]
pub enum Gathered {
    /// Not asked for, or here already.
    Ignored,
    /// Not the number of states that was asked for.
    Malformed,
    /// More are missing.
    Partly,
    /// The description is complete; these sources gave wrong states in an earlier attempt.
    Complete(Vec<Origin>),
    /// All states are here and do not have the claimed digest. They all came from this source.
    False(Origin),
    /// The same, but from several sources; everything is to be fetched again from one.
    Unclear,
}

impl Claim {
    /// A claim without states.
    pub fn new(hash: FileHash, layout: PieceLayout, digest: [u8; 32], name: String, now: Time) -> Self {
        let boundaries = layout.inner_boundaries();
        let ranges = (1..=boundaries).step_by(limits::MAX_STATES_PER_MESSAGE as usize).map(|first| StateRange {
            first,
            count: (boundaries + 1 - first).min(limits::MAX_STATES_PER_MESSAGE),
            states: None,
            asked: None,
        });
        // Files of one piece have nothing to fetch; the caller has refused impossible empty ones.
        let description = if boundaries == 0 { Description::trivial(hash, layout).ok() } else { None };
        Self {
            layout,
            digest,
            name,
            since: now,
            ranges: ranges.collect(),
            sole: None,
            contested: false,
            suspects: Vec::new(),
            description,
            against: None,
            trial: None,
        }
    }

    /// The first range that can be asked for at present.
    pub fn next_range(&self) -> Option<usize> {
        if self.description.is_some() {
            return None;
        }
        self.ranges.iter().position(|range| range.states.is_none() && range.asked.is_none())
    }

    /// The source will not answer.
    pub fn release(&mut self, source: SourceId) {
        for range in self.ranges.iter_mut().filter(|range| range.asked.is_some_and(|(asked, _)| asked == source)) {
            range.asked = None;
        }
        if self.sole == Some(source) {
            self.restart(None);
        }
    }

    /// Forgets all states and fetches them anew from `sole` (or whoever is chosen next).
    pub fn restart(&mut self, sole: Option<SourceId>) {
        self.sole = sole;
        for range in &mut self.ranges {
            range.states = None;
            range.asked = None;
        }
    }

    /// Takes a range of states from a source that was asked for range `index`.
    pub fn gather(&mut self, index: usize, origin: Origin, states: Bytes, hash: FileHash) -> Gathered {
        let allowed = self.sole.is_none_or(|sole| sole == origin.source);
        let Some(range) = self.ranges.get_mut(index) else { return Gathered::Ignored };
        if range.states.is_some() || self.description.is_some() || !allowed {
            return Gathered::Ignored;
        }
        if states.len() != range.count as usize * 32 {
            return Gathered::Malformed;
        }
        range.states = Some((origin, states));
        range.asked = None;
        if self.ranges.iter().any(|range| range.states.is_none()) {
            return Gathered::Partly;
        }
        self.conclude(hash)
    }

    fn conclude(&mut self, hash: FileHash) -> Gathered {
        let parts: Vec<(Origin, Bytes)> = self.ranges.iter().filter_map(|range| range.states.clone()).collect();
        let all = if let [(_, only)] = parts.as_slice() {
            only.clone()
        } else {
            parts
                .iter()
                .fold(BytesMut::new(), |mut all, (_, part)| {
                    all.extend_from_slice(part);
                    all
                })
                .freeze()
        };
        match Description::from_state_bytes(hash, self.layout, all) {
            Ok(description) if description.digest() == self.digest => {
                self.description = Some(description);
                self.ranges = Vec::new();
                let suspects = std::mem::take(&mut self.suspects);
                let wrong = |(index, _, states): &&(usize, Origin, Bytes)| parts[*index].1 != *states;
                Gathered::Complete(suspects.iter().filter(wrong).map(|(_, origin, _)| *origin).collect())
            }
            _ => {
                let first = parts[0].0;
                if parts.iter().all(|(origin, _)| *origin == first) {
                    self.restart(None);
                    return Gathered::False(first);
                }
                self.suspects =
                    parts.into_iter().enumerate().map(|(index, (origin, part))| (index, origin, part)).collect();
                self.contested = true;
                self.restart(None);
                Gathered::Unclear
            }
        }
    }
}

impl Trial {
    /// Nothing was asked for yet.
    pub fn new(piece: u32, origin: Origin, layout: PieceLayout, block: u32) -> Self {
        let range = layout.range(piece);
        let spans: Vec<Span> = (0..range.length.div_ceil(block))
            .map(|index| index * block)
            .map(|start| Span { offset: range.offset + u64::from(start), length: (range.length - start).min(block) })
            .collect();
        Self { piece, origin, blocks: vec![None; spans.len()], spans, next: 0, checking: false }
    }

    /// Takes a block; true if all are here now.
    pub fn accept(&mut self, offset: u64, bytes: Bytes) -> bool {
        let Ok(index) = self.spans.binary_search_by_key(&offset, |span| span.offset) else { return false };
        if self.checking || self.spans[index].length as usize != bytes.len() {
            return false;
        }
        self.blocks[index] = Some(bytes);
        self.blocks.iter().all(Option::is_some)
    }
}
