//! The arguments of every command. Not here: what the commands do with them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dig_nat_core::base::ids::ContentKey;
use dig_nat_core::base::options::NodeOptions;

use crate::outcome;
use crate::units;

/// Shares files, and fetches files by their SHA-256 from every peer that has them. Every piece is proven.
#[derive(Debug, Parser)]
#[command(name = "dig-nat", version, after_help = outcome::exit_code_help())]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Share files and directories until Ctrl-C
    #[command(after_help = outcome::exit_code_help())]
    Share(ShareArguments),
    /// Fetch a file by its SHA-256 or content id
    #[command(after_help = outcome::exit_code_help())]
    Get(GetArguments),
    /// Forward bytes between peers that cannot reach each other, until Ctrl-C
    #[command(after_help = outcome::exit_code_help())]
    Relay(RelayArguments),
    /// Find out what stands between this machine and the internet, and what to do about it
    #[command(after_help = outcome::exit_code_help())]
    Doctor(DoctorArguments),
    /// Show the whole way on this machine: a host and a client as two processes, and a file between them
    #[command(after_help = outcome::exit_code_help())]
    Demo(DemoArguments),
}

impl Command {
    /// Whether output is JSON lines, errors included.
    pub fn json(&self) -> bool {
        match self {
            Self::Share(arguments) => arguments.output.json,
            Self::Get(arguments) => arguments.output.json,
            Self::Relay(arguments) => arguments.output.json,
            Self::Doctor(arguments) => arguments.output.json,
            Self::Demo(_) => false,
        }
    }

    /// Whether the end of standard input is a request to stop.
    pub fn exit_with_parent(&self) -> bool {
        match self {
            Self::Share(arguments) => arguments.output.exit_with_parent,
            Self::Get(arguments) => arguments.output.exit_with_parent,
            Self::Relay(arguments) => arguments.output.exit_with_parent,
            Self::Doctor(arguments) => arguments.output.exit_with_parent,
            Self::Demo(_) => false,
        }
    }
}

/// `dig-nat share`.
#[derive(Debug, Args)]
pub struct ShareArguments {
    /// Files and directories; directories are shared with everything below them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Readable name under which the file can also be fetched; needs exactly one PATH
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Follow the directories: share new and changed files, withdraw removed ones
    #[arg(long)]
    pub watch: bool,
    /// Upload limit per second, such as 500KiB or 10MiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub upload_limit: Option<u64>,
    /// Keep this node's identity and the hashes of unchanged files in this directory
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub discovery: DiscoveryArguments,
    #[command(flatten)]
    pub reach: ReachArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `dig-nat get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// SHA-256 of the file (64 hex digits), or the content id that a host gave it
    #[arg(value_name = "KEY")]
    pub key: ContentKey,
    /// Target file, or a directory for the name that the peers offer [default: the current directory]
    #[arg(short, long, value_name = "PATH")]
    pub output_path: Option<PathBuf>,
    /// Peer to ask: host:port, multiaddr or peer id; may be repeated. Others are still looked for
    #[arg(long = "peer", value_name = "ADDRESS")]
    pub peers: Vec<String>,
    /// Give up when nobody who has the file was found for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub timeout: f64,
    /// Peers used at once
    #[arg(long, value_name = "N")]
    pub max_peers: Option<usize>,
    /// Download limit per second, such as 500KiB or 10MiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub download_limit: Option<u64>,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub discovery: DiscoveryArguments,
    #[command(flatten)]
    pub reach: ReachArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `dig-nat relay`.
#[derive(Debug, Args)]
pub struct RelayArguments {
    /// Keep this node's identity, and so its address, in this directory
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Be a Gun relay too, at this address
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "0.0.0.0:8765")]
    pub gun: Option<SocketAddr>,
    /// Take part in the hash table that is entered by this node, a multiaddr or host:port; may be repeated
    #[arg(long = "bootstrap", value_name = "ADDRESS")]
    pub bootstrap: Vec<String>,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `dig-nat doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// STUN server to ask, host:port; may be repeated [default: three public ones]
    #[arg(long = "stun", value_name = "SERVER")]
    pub stun: Vec<String>,
    /// Time for everything in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub timeout: f64,
    /// Try to reach this peer too, and say what became of each way: a peer id, or an address that ends in it
    #[arg(long, value_name = "PEER")]
    pub peer: Option<String>,
    /// Relay to meet the peer at; may be repeated
    #[arg(long = "relay", value_name = "ADDRESS", requires = "peer")]
    pub relays: Vec<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `dig-nat demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Size of the generated file
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = units::parse_size)]
    pub size: u64,
    /// Leave both files on disk and say where
    #[arg(long)]
    pub keep: bool,
    /// Interface (name or address) on which host and client find each other
    #[arg(long, value_name = "NAME", default_value = "127.0.0.1")]
    pub interface: String,
}

/// How a node takes part in the network.
#[derive(Debug, Args)]
pub struct NetworkArguments {
    /// TCP and UDP port to listen on; 0 chooses a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// Neither search the local network nor answer there
    #[arg(long)]
    pub no_local: bool,
    /// Use only this interface (name or address); may be repeated
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Contact nothing but the local network and addresses given here: no public hash table, STUN server or router
    #[arg(long)]
    pub local_only: bool,
}

/// How peers are found besides the local network.
#[derive(Debug, Args)]
pub struct DiscoveryArguments {
    /// Take no part in a distributed hash table
    #[arg(long)]
    pub no_dht: bool,
    /// Node by which the private hash table is entered, a multiaddr or host:port; may be repeated [default: the public
    /// hash table]
    #[arg(long = "bootstrap", value_name = "ADDRESS")]
    pub bootstrap: Vec<String>,
    /// Gun relay, such as ws://host:8765/gun; may be repeated
    #[arg(long = "gun", value_name = "URL")]
    pub gun: Vec<String>,
}

/// How a node is reached by others.
#[derive(Debug, Args)]
pub struct ReachArguments {
    /// Relay through which this node can be reached while it cannot directly, a multiaddr with its peer id; may be
    /// repeated
    #[arg(long = "relay", value_name = "MULTIADDR")]
    pub relays: Vec<String>,
    /// STUN server that tells this node its public address, host:port; may be repeated [default: three public ones]
    #[arg(long = "stun", value_name = "SERVER")]
    pub stun: Vec<String>,
}

/// How results are shown.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Print one JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
    /// Stop when standard input ends, so that no process outlives the program that started it
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

impl NetworkArguments {
    /// The node options these arguments stand for; what they leave open keeps the library's defaults.
    pub fn node_options(&self) -> NodeOptions {
        let mut options = NodeOptions { port: self.port, local_enabled: !self.no_local, ..NodeOptions::default() };
        options.local_only |= self.local_only;
        if !self.interfaces.is_empty() {
            options.interfaces.clone_from(&self.interfaces);
        }
        options
    }
}

impl DiscoveryArguments {
    /// Puts what these arguments say into the options of a node.
    pub fn add_to(&self, options: &mut NodeOptions) {
        options.dht_enabled = !self.no_dht;
        options.bootstrap_nodes.clone_from(&self.bootstrap);
        options.gun_peers.clone_from(&self.gun);
    }
}

impl ReachArguments {
    /// Puts what these arguments say into the options of a node.
    pub fn add_to(&self, options: &mut NodeOptions) {
        options.relays.clone_from(&self.relays);
        options.stun_servers.clone_from(&self.stun);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn short_and_repeated_arguments_are_read() {
        let hash = "0".repeat(64);
        let parsed =
            Arguments::try_parse_from(["dig-nat", "get", &hash, "-o", "x", "--peer", "a:1", "--peer", "b:2", "--json"])
                .expect("valid");
        let Command::Get(get) = parsed.command else { panic!("not a get") };
        assert_eq!(get.peers, ["a:1", "b:2"]);
        assert_eq!(get.output_path, Some(PathBuf::from("x")));
        assert!(get.output.json && matches!(get.key, ContentKey::Hash(_)));
    }

    #[test]
    fn relays_and_stun_servers_become_options() {
        let arguments = ["dig-nat", "share", "a", "--relay", "/x", "--relay", "/y", "--stun", "s:1"];
        let parsed = Arguments::try_parse_from(arguments).expect("valid");
        let Command::Share(share) = parsed.command else { panic!("not a share") };
        let mut options = share.network.node_options();
        share.reach.add_to(&mut options);
        assert_eq!(options.relays, ["/x", "/y"]);
        assert_eq!(options.stun_servers, ["s:1"]);
    }

    #[test]
    fn ways_of_discovery_become_options() {
        let arguments =
            ["dig-nat", "get", "x", "--no-dht", "--bootstrap", "a:1", "--gun", "ws://b/gun", "--local-only"];
        let Command::Get(get) = Arguments::try_parse_from(arguments).expect("valid").command else {
            panic!("not a get")
        };
        let mut options = get.network.node_options();
        get.discovery.add_to(&mut options);
        assert!(!options.dht_enabled && options.local_only);
        assert_eq!((options.bootstrap_nodes, options.gun_peers), (vec!["a:1".into()], vec!["ws://b/gun".into()]));
        for (arguments, expected) in [(&["--gun"][..], "0.0.0.0:8765"), (&["--gun", "127.0.0.1:1"], "127.0.0.1:1")] {
            let arguments = [&["dig-nat", "relay"], arguments].concat();
            let Command::Relay(relay) = Arguments::try_parse_from(arguments).expect("valid").command else {
                panic!("not a relay")
            };
            assert_eq!(relay.gun, Some(expected.parse().expect("an address")));
        }
    }

    #[test]
    fn an_empty_key_is_a_usage_error() {
        assert!(Arguments::try_parse_from(["dig-nat", "get", ""]).is_err());
        assert!(Arguments::try_parse_from(["dig-nat", "share"]).is_err());
    }
}
