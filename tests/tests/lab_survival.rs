//! A running download survives what happens to networks: routers that restart or expire mappings, public addresses that
//! change, paths that die silently, a computer that joins another network. It goes on with the right bytes and without
//! a long pause. Not here: downloads through networks that stay as they are (`lab_download`).
#![cfg(target_os = "linux")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dig_nat_core::api::{EventStream, FileClient, FileHost};
use dig_nat_core::base::events::{Event, Progress};
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{AddFileOptions, ClientOptions, DownloadOptions, HostOptions, NodeOptions};
use dig_nat_tests::files;
use dig_nat_tests::lab::{self, Lab, Nat, Path, Place, Site};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const FILE_BYTES: u64 = 100_000_000;
/// Bits per second of the downloader's line: the download takes 13 seconds, and what happens falls in their middle.
const RATE: u64 = 65_000_000;
const DELAY: Duration = Duration::from_millis(10);
const EVENT_AT: u64 = FILE_BYTES / 3;
/// The longest pause that is allowed, and what a busy machine may add to it.
const STALL: Duration = Duration::from_secs(3);
const ROOM: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(150);

/// What the nodes of a test may use.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    Quic,
    Tcp,
}

fn options(place: &Place, over: Over, relays: Vec<String>) -> NodeOptions {
    NodeOptions {
        local_enabled: false,
        // The public table's entry nodes would each take a port of a NAT that counts; in a private one, all who come to
        // the relay would meet each other.
        dht_enabled: false,
        enable_upnp: false,
        enable_natpmp: false,
        enable_tcp: over == Over::Tcp,
        enable_udp: over == Over::Quic,
        stun_servers: place.stun[..4].iter().map(ToString::to_string).collect(),
        relays,
        ..NodeOptions::default()
    }
}

async fn event<T>(events: &mut EventStream, what: &str, pick: impl Fn(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = pick(events.next().await.expect("the node runs")) {
                return found;
            }
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap_or_else(|_| panic!("{what}: not within {WAIT:?}"))
}

/// Runs a relay until `end`, and tells its address for one transport.
async fn relay(place: Place, over: Over, tell: oneshot::Sender<String>, end: CancellationToken) {
    let node = NodeOptions {
        relay_server: true,
        port: 443,
        enable_tcp: true,
        enable_udp: true,
        ..options(&place, over, Vec::new())
    };
    let relay = FileHost::new(node, HostOptions::default()).expect("valid");
    relay.start().await.expect("started");
    let peer = relay.peer_id().expect("running");
    let way = if over == Over::Quic { "udp/443/quic-v1" } else { "tcp/443" };
    tell.send(format!("/ip4/{}/{way}/p2p/{peer}", place.v4())).expect("awaited");
    end.cancelled().await;
    relay.stop().await.expect("stopped");
}

/// Where a file can be had through the relay.
type Offer = (String, FileHash);

/// Shares the file until `end`, and tells where.
async fn share(place: Place, over: Over, relay: String, tell: oneshot::Sender<Offer>, end: CancellationToken) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("film.bin");
    let hash = files::random_file(&path, FILE_BYTES, 7);
    let host = FileHost::new(options(&place, over, vec![relay]), HostOptions::default()).expect("valid");
    let mut events = host.subscribe();
    host.start().await.expect("started");
    host.add_file(path, AddFileOptions::default()).wait().await.expect("shared");
    let address = event(&mut events, "a place at the relay", |event| match event {
        Event::RelayReserved { address } => Some(address),
        _ => None,
    });
    tell.send((address.await, hash)).expect("awaited");
    end.cancelled().await;
    host.stop().await.expect("stopped");
}

/// What the downloading process sees of its own progress.
#[derive(Debug)]
struct Watch {
    bytes: u64,
    direct: bool,
    begun: Instant,
    last: Instant,
    longest: Duration,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self { bytes: 0, direct: false, begun: now, last: now, longest: Duration::ZERO }
    }

    fn note(&mut self, progress: &Progress) {
        let now = Instant::now();
        self.direct = progress.peers.iter().any(|peer| ["udp", "tcp"].contains(&peer.connection_type.as_str()));
        if progress.bytes > self.bytes {
            if self.bytes > 0 {
                self.longest = self.longest.max(now - self.last);
            } else {
                self.begun = now;
            }
            self.last = now;
            self.bytes = progress.bytes;
        }
    }
}

type Shared = Arc<Mutex<Watch>>;

/// Fetches the file; tells over what it came in the end, over which kinds of connection in order, and its hash.
async fn fetch(place: Place, over: Over, (from, hash): Offer, watch: Shared) -> (String, Vec<String>, FileHash) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("copy");
    let client = FileClient::new(options(&place, over, Vec::new()), ClientOptions::default()).expect("valid");
    let mut events = client.subscribe();
    client.start().await.expect("started");
    if over == Over::Quic {
        // What is known of the own NAT decides how a peer is met.
        event(&mut events, "NAT detected", |event| matches!(event, Event::NatDetected { .. }).then_some(())).await;
    }
    let order = DownloadOptions {
        save_path: Some(path.clone()),
        peers: vec![from],
        discover: Some(false),
        ..DownloadOptions::default()
    };
    let note = Arc::new(move |progress: &Progress| watch.lock().expect("no panics").note(progress));
    let fetched = client.download(ContentKey::Hash(hash), order, Some(note)).wait().await;
    let result = fetched.unwrap_or_else(|error| panic!("not fetched: {}", error.full_message()));
    let last = result.peers.values().map(|peer| peer.connection_type.clone()).collect::<Vec<_>>().join(", ");
    client.stop().await.expect("stopped");
    let mut kinds = Vec::new();
    loop {
        match events.next().await.expect("the client is held") {
            Event::PeerConnected { connection_type, .. } => kinds.push(connection_type),
            Event::Stopped => return (last, kinds, files::sha256(&path)),
            _ => {}
        }
    }
}

/// Downloads from the site `host` to the site `client`, makes `happen` in the middle, over a direct path, and gives
/// over what the download ended.
fn survive(lab: &Lab, over: Over, happen: impl FnOnce(&Lab, &Shared)) -> String {
    let end = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let stop = end.clone();
    let relay = lab.host("relay").spawn(move |place| relay(place, over, tell, stop));
    let at = told.blocking_recv().expect("the relay runs");
    let (tell, told) = oneshot::channel();
    let stop = end.clone();
    let host = lab.host("host").spawn(move |place| share(place, over, at, tell, stop));
    let offer = told.blocking_recv().expect("it has a place at the relay");
    let hash = offer.1;
    let watch = Arc::new(Mutex::new(Watch::new()));
    let seen = Arc::clone(&watch);
    let fetching = lab.host("client").spawn(move |place| fetch(place, over, offer, seen));
    let in_the_middle = |watch: &Watch| watch.bytes >= EVENT_AT && watch.direct;
    wait_until(&watch, "the middle of a direct download", &fetching, in_the_middle);
    let before = watch.lock().expect("no panics").bytes;
    let happened = Instant::now();
    happen(lab, &watch);
    assert!(!fetching.is_finished(), "it happened too late");
    let (last, kinds, received) = fetching.join_within(WAIT).expect("the download ends");
    let Watch { begun, longest, .. } = *watch.lock().expect("no panics");
    println!(
        "longest pause {} ms; at {before} bytes of {FILE_BYTES}, {} ms before the end, {} ms in all; {kinds:?}, then {last}",
        longest.as_millis(),
        happened.elapsed().as_millis(),
        begun.elapsed().as_millis(),
    );
    assert_eq!(received, hash);
    assert!(longest <= STALL + ROOM, "a pause of {longest:?}");
    end.cancel();
    relay.join();
    host.join();
    last
}

fn wait_until<T>(watch: &Shared, what: &str, running: &lab::Running<T>, reached: impl Fn(&Watch) -> bool) {
    let deadline = Instant::now() + WAIT;
    loop {
        {
            let watch = watch.lock().expect("no panics");
            if reached(&watch) {
                return;
            }
            assert!(!running.is_finished() && Instant::now() < deadline, "{what} was not reached: {watch:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lab(host: Nat, client: Nat) -> Lab {
    let line = Path::delay(DELAY).rate(RATE);
    Lab::builder().site("host", host).site("client", Site::new(client).path(line)).build()
}

#[test]
fn the_death_of_the_direct_path() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::port_restricted(), Nat::port_restricted());
        let last = survive(&lab, Over::Quic, |lab, _| lab.cut_between("host", "client"));
        assert_eq!(last, "relay");
    });
}

#[test]
fn the_death_of_a_direct_tcp_path() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::public(), Nat::port_restricted());
        let last = survive(&lab, Over::Tcp, |lab, _| lab.cut_between("host", "client"));
        assert_eq!(last, "relay");
    });
}

#[test]
fn a_restart_of_the_downloaders_router() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::port_restricted(), Nat::endpoint_independent_random());
        survive(&lab, Over::Quic, |lab, _| lab.reboot_nat("client"));
    });
}

#[test]
fn a_restart_of_the_sharers_router() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::endpoint_independent_random(), Nat::port_restricted());
        survive(&lab, Over::Quic, |lab, _| lab.reboot_nat("host"));
    });
}

#[test]
fn a_restart_of_the_router_during_tcp() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::public(), Nat::endpoint_independent_random());
        survive(&lab, Over::Tcp, |lab, _| lab.reboot_nat("client"));
    });
}

#[test]
fn a_new_public_address_of_the_downloader() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::port_restricted(), Nat::port_restricted());
        survive(&lab, Over::Quic, |lab, _| {
            lab.change_public_address("client");
        });
    });
}

#[test]
fn a_new_public_address_of_the_sharer() {
    lab::run_within(PATIENCE, || {
        let lab = lab(Nat::port_restricted(), Nat::port_restricted());
        survive(&lab, Over::Quic, |lab, _| {
            lab.change_public_address("host");
        });
    });
}

/// The way around must stay open although nothing goes over it while the direct one works.
#[test]
fn mappings_that_expire_every_twenty_seconds() {
    lab::run_within(PATIENCE, || {
        let impatient = || Nat::port_restricted().mapping_timeout(Duration::from_secs(20));
        let line = Path::delay(DELAY).rate(30_000_000);
        let lab = Lab::builder().site("host", impatient()).site("client", Site::new(impatient()).path(line)).build();
        let last = survive(&lab, Over::Quic, |lab, watch| {
            // Time itself is what is tested.
            let running_for = watch.lock().expect("no panics").begun.elapsed();
            std::thread::sleep(Duration::from_secs(21).saturating_sub(running_for));
            lab.cut_between("host", "client");
        });
        assert_eq!(last, "relay");
    });
}

#[test]
fn a_downloader_that_joins_another_network() {
    roam(Over::Quic, Nat::port_restricted());
}

#[test]
fn a_downloader_that_joins_another_network_during_tcp() {
    roam(Over::Tcp, Nat::public());
}

fn roam(over: Over, host: Nat) {
    lab::run_within(PATIENCE, || {
        let line = Path::delay(DELAY).rate(RATE);
        let lab = Lab::builder()
            .site("host", host)
            .site("client", Site::new(Nat::port_restricted()).path(line))
            .site("elsewhere", Site::new(Nat::port_restricted()).path(line))
            .build();
        survive(&lab, over, |lab, _| lab.roam("client", "elsewhere"));
    });
}
