//! What a seed means: the file, the nodes, their lines, who lies, who comes and goes. Not here: what happens then.

use bytes::Bytes;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::content::description::{Describer, Description};
use dig_nat_core::content::layout::PieceLayout;

use super::lies::Lie;

/// One simulated swarm.
pub struct Scenario {
    pub file: Bytes,
    pub description: Description,
    pub key: ContentKey,
    pub block_bytes: u32,
    pub assembly_bytes: u64,
    pub max_window_bytes: u64,
    pub max_peers: usize,
    /// Hosts first, then clients.
    pub nodes: Vec<Plan>,
    /// All honest hosts die as soon as the clients that stay have the whole file between them.
    pub hosts_die_when_covered: bool,
}

/// One node's fate.
pub struct Plan {
    pub role: Role,
    /// Bytes per second.
    pub up: f64,
    pub down: f64,
    /// One way, in microseconds; that of two nodes adds up.
    pub latency: u64,
    pub joins: Time,
    /// Leaves at the first moment and returns at the second.
    pub away: Option<(Time, Time)>,
    /// Never comes back.
    pub dies: Option<Time>,
    /// Leaves for good when it has the file.
    pub selfish: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Host,
    Liar(Lie),
    Client,
}

pub fn seconds(seconds: f64) -> Time {
    Time::from_micros((seconds * 1e6) as u64)
}

pub fn describe(file: &[u8], piece_length: u32) -> Description {
    let layout = PieceLayout::with_piece_length(file.len() as u64, piece_length).expect("a valid layout");
    let mut describer = Describer::with_layout(layout);
    describer.update(file).expect("as long as announced");
    describer.finish().expect("complete")
}

pub fn random_bytes(rng: &mut Jitter, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.bits().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Scenario {
    /// Nobody lies, or leaves before it is done.
    pub fn is_calm(&self) -> bool {
        !self.hosts_die_when_covered
            && self.nodes.iter().all(|plan| {
                let stays = plan.away.is_none() && plan.dies.is_none();
                stays && !matches!(plan.role, Role::Liar(_))
            })
    }

    /// Every 20th seed is a swarm of 200 clients and 5 hosts, the others are small.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Jitter::from_seed(seed);
        let big = seed.is_multiple_of(20);
        let (clients, hosts, pieces) =
            if big { (200, 5, 48) } else { (1 + rng.below(35), 1 + rng.below(4), rng.below(100)) };
        let liars = if rng.below(4) == 0 { 0 } else { 1 + rng.below(if big { 12 } else { 4 }) };
        let piece_length = if big { 1024 } else { 64 * [1_u32, 4, 16, 32][rng.below(4)] };
        let blocks_per_piece = if big { 1 } else { 1 + rng.below(4) as u32 };
        let length = match rng.below(20) {
            0 if !big => 0,
            1 if !big => 1 + rng.below(piece_length as usize),
            _ => pieces * piece_length as usize + 1 + rng.below(piece_length as usize),
        };
        let file = Bytes::from(random_bytes(&mut rng, length));
        let description = describe(&file, piece_length);
        let key = match rng.below(10) {
            0 => ContentKey::Id("a file".into()),
            _ => ContentKey::Hash(FileHash::of(&file)),
        };
        let pieces = description.layout().pieces();
        let rate = |rng: &mut Jitter| f64::from(piece_length) * 4.0 * (100.0_f64).powf(rng.fraction());
        let mut nodes = Vec::new();
        let plan = |rng: &mut Jitter, role| {
            let up = rate(rng);
            let latency = (300.0 * 250.0_f64.powf(rng.fraction())) as u64;
            let down = up * (1.0 + 7.0 * rng.fraction());
            Plan { role, up, down, latency, joins: Time::ZERO, away: None, dies: None, selfish: false }
        };
        for host in 0..hosts {
            let mut plan = plan(&mut rng, Role::Host);
            // One of them always stays.
            plan.dies = (host > 0 && rng.below(3) == 0).then(|| seconds(1.0 + 60.0 * rng.fraction()));
            nodes.push(plan);
        }
        for _ in 0..liars {
            let lie = Lie::random(&mut rng, pieces);
            let mut plan = plan(&mut rng, Role::Liar(lie));
            plan.joins = seconds([0.0, 20.0][rng.below(2)] * rng.fraction());
            nodes.push(plan);
        }
        let flash_crowd = rng.below(2) == 0;
        let churn = [0, 3, 10][rng.below(3)];
        for _ in 0..clients {
            let mut plan = plan(&mut rng, Role::Client);
            plan.joins = seconds(if flash_crowd { 0.1 } else { 40.0 } * rng.fraction());
            if rng.below(10) < churn {
                let leaves = plan.joins + std::time::Duration::from_secs_f64(0.5 + 30.0 * rng.fraction());
                plan.away = Some((leaves, leaves + std::time::Duration::from_secs_f64(1.0 + 30.0 * rng.fraction())));
            }
            plan.selfish = rng.below(4) == 0;
            nodes.push(plan);
        }
        Self {
            file,
            key,
            block_bytes: (piece_length / blocks_per_piece).max(16),
            assembly_bytes: u64::from(piece_length) * [3, 8, 40][rng.below(3)],
            max_window_bytes: u64::from(piece_length) * [2, 4, 16][rng.below(3)],
            max_peers: [2, 5, 10, 30][rng.below(4)],
            nodes,
            hosts_die_when_covered: rng.below(5) == 0,
            description,
        }
    }
}
