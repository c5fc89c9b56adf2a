//! Options on their way to core: nothing set is core's default, everything set arrives.

use super::*;

#[test]
fn null_and_initialised_options_are_cores_defaults() {
    // SAFETY: NULL or initialised structs.
    unsafe {
        let mut c = std::mem::MaybeUninit::<DigNatNodeOptions>::uninit();
        dig_nat_node_options_init(c.as_mut_ptr(), size_of::<DigNatNodeOptions>());
        assert_eq!(node(c.as_ptr()).expect("valid"), NodeOptions::default());
        assert_eq!(node(std::ptr::null()).expect("valid"), NodeOptions::default());
        assert_eq!(host(std::ptr::null()).expect("valid"), HostOptions::default());
        assert_eq!(client(std::ptr::null()).expect("valid"), ClientOptions::default());
        assert_eq!(download(std::ptr::null()).expect("valid"), DownloadOptions::default());
        assert_eq!(nat(std::ptr::null()).expect("valid"), NatOptions::default());
        assert_eq!(mapping(std::ptr::null()).expect("valid"), MappingOptions::default());
        assert_eq!(add_file(std::ptr::null()).expect("valid"), AddFileOptions::default());
        assert_eq!(find(std::ptr::null()).expect("valid"), FindOptions::default());
    }
}

#[test]
fn every_field_arrives() {
    let interface = c"lo".as_ptr();
    let prefix = c"0f".as_ptr();
    let gun = c"ws://127.0.0.1:8765/gun".as_ptr();
    let server = c"127.0.0.1:3478".as_ptr();
    let relay = c"/ip4/127.0.0.1/tcp/1/p2p/x".as_ptr();
    let turn =
        DigNatTurnServer { url: c"turn:127.0.0.1".as_ptr(), username: c"user".as_ptr(), credential: std::ptr::null() };
    let c = DigNatNodeOptions {
        size: size_of::<DigNatNodeOptions>(),
        port: 1,
        enable_ipv6: DIG_NAT_SWITCH_ON,
        prefer_ipv6: DIG_NAT_SWITCH_OFF,
        enable_tcp: DIG_NAT_SWITCH_OFF,
        enable_udp: DIG_NAT_SWITCH_ON,
        local_enabled: DIG_NAT_SWITCH_OFF,
        dht_enabled: DIG_NAT_SWITCH_OFF,
        dht_network: c"private".as_ptr(),
        bootstrap_nodes: &raw const server,
        bootstrap_nodes_count: 1,
        is_shard_host: DIG_NAT_SWITCH_ON,
        shard_prefixes: &raw const prefix,
        shard_prefixes_count: 1,
        num_shard_prefixes: 7,
        shard_prefix_length: 8,
        pex_enabled: DIG_NAT_SWITCH_OFF,
        pex_interval_ms: 61_000,
        gun_enabled: DIG_NAT_SWITCH_OFF,
        gun_peers: &raw const gun,
        gun_peers_count: 1,
        gun_node_id: c"a node".as_ptr(),
        gun_namespace: c"a space".as_ptr(),
        gun_peer_map_name: c"peers".as_ptr(),
        gun_content_map_name: c"content".as_ptr(),
        gun_announce_interval_ms: 1001,
        gun_announce_ttl_ms: 1002,
        gun_peer_ttl_ms: 1003,
        gun_cleanup_interval_ms: 1004,
        gun_max_cached_peers: 99,
        external_ip: c"192.0.2.1".as_ptr(),
        external_port: 8,
        local_only: DIG_NAT_SWITCH_OFF,
        interfaces: &raw const interface,
        interfaces_count: 1,
        persistence_dir: c"state".as_ptr(),
        enable_persistence: DIG_NAT_SWITCH_ON,
        node_type: c"super".as_ptr(),
        max_known_peers: 11,
        max_cached_hashes: 12,
        max_cached_peers_per_hash: 13,
        max_connections: 2,
        upload_limit: 3,
        download_limit: 4,
        peer_upload_limit: 5,
        peer_download_limit: 6,
        stun_servers: &raw const server,
        stun_servers_count: 1,
        turn_servers: &raw const turn,
        turn_servers_count: 1,
        enable_upnp: DIG_NAT_SWITCH_OFF,
        enable_natpmp: DIG_NAT_SWITCH_OFF,
        port_mapping_lifetime_s: 200,
        relays: &raw const relay,
        relays_count: 1,
        relay_server: DIG_NAT_SWITCH_ON,
        light_node: DIG_NAT_SWITCH_ON,
    };
    let expected = NodeOptions {
        port: 1,
        enable_ipv6: true,
        prefer_ipv6: false,
        enable_tcp: false,
        enable_udp: true,
        local_enabled: false,
        dht_enabled: false,
        dht_network: Some("private".into()),
        bootstrap_nodes: vec!["127.0.0.1:3478".into()],
        is_shard_host: true,
        shard_prefixes: vec!["0f".into()],
        num_shard_prefixes: 7,
        shard_prefix_length: 8,
        pex_enabled: false,
        pex_interval_ms: 61_000,
        gun_enabled: false,
        gun_peers: vec!["ws://127.0.0.1:8765/gun".into()],
        gun_node_id: Some("a node".into()),
        gun_namespace: Some("a space".into()),
        gun_peer_map_name: "peers".into(),
        gun_content_map_name: "content".into(),
        gun_announce_interval_ms: 1001,
        gun_announce_ttl_ms: 1002,
        gun_peer_ttl_ms: 1003,
        gun_cleanup_interval_ms: 1004,
        gun_max_cached_peers: 99,
        external_ip: Some("192.0.2.1".into()),
        external_port: 8,
        local_only: false,
        interfaces: vec!["lo".into()],
        persistence_dir: Some("state".into()),
        enable_persistence: Some(true),
        node_type: Some("super".into()),
        max_known_peers: 11,
        max_cached_hashes: 12,
        max_cached_peers_per_hash: 13,
        max_connections: 2,
        upload_limit: 3,
        download_limit: 4,
        peer_upload_limit: 5,
        peer_download_limit: 6,
        stun_servers: vec!["127.0.0.1:3478".into()],
        turn_servers: vec![dig_nat_core::base::options::TurnServerOption {
            urls: vec!["turn:127.0.0.1".into()],
            username: Some("user".into()),
            credential: None,
        }],
        enable_upnp: false,
        enable_natpmp: false,
        port_mapping_lifetime_s: 200,
        relays: vec!["/ip4/127.0.0.1/tcp/1/p2p/x".into()],
        relay_server: true,
        light_node: true,
    };
    // SAFETY: a complete struct.
    assert_eq!(unsafe { node(&raw const c) }.expect("valid"), expected);
    let wrong = DigNatNodeOptions { enable_tcp: 7, ..c };
    // SAFETY: a complete struct.
    let error = unsafe { node(&raw const wrong) }.expect_err("7 is no switch");
    assert!(error.to_string().starts_with("enable_tcp"), "{error}");

    let peer = c"127.0.0.1:1".as_ptr();
    let c = DigNatDownloadOptions {
        size: size_of::<DigNatDownloadOptions>(),
        save_path: c"a".as_ptr(),
        output_dir: c"b".as_ptr(),
        peers: &raw const peer,
        peers_count: 1,
        max_peers: 2,
        timeout_ms: 3,
        discover: DIG_NAT_SWITCH_OFF,
        download_limit: 4,
        share_while_downloading: DIG_NAT_SWITCH_OFF,
        overwrite: DIG_NAT_SWITCH_OFF,
    };
    let expected = DownloadOptions {
        save_path: Some("a".into()),
        output_dir: Some("b".into()),
        peers: vec!["127.0.0.1:1".into()],
        max_peers: Some(2),
        timeout_ms: 3,
        discover: Some(false),
        download_limit: 4,
        share_while_downloading: false,
        overwrite: false,
    };
    // SAFETY: a complete struct.
    assert_eq!(unsafe { download(&raw const c) }.expect("valid"), expected);

    let c = DigNatNatOptions {
        size: size_of::<DigNatNatOptions>(),
        stun_servers: &raw const server,
        stun_servers_count: 1,
        timeout_ms: 200,
        enable_ipv6: DIG_NAT_SWITCH_ON,
        use_natpmp: DIG_NAT_SWITCH_OFF,
        local_only: DIG_NAT_SWITCH_OFF,
    };
    let expected = NatOptions {
        stun_servers: vec!["127.0.0.1:3478".into()],
        timeout_ms: 200,
        enable_ipv6: true,
        use_natpmp: false,
        local_only: false,
    };
    // SAFETY: a complete struct.
    assert_eq!(unsafe { nat(&raw const c) }.expect("valid"), expected);

    let c = DigNatMappingOptions {
        size: size_of::<DigNatMappingOptions>(),
        internal_port: 1,
        external_port: 2,
        protocol: c"UDP".as_ptr(),
        description: c"mine".as_ptr(),
        ttl_s: 3,
        timeout_ms: 400,
    };
    let expected = MappingOptions {
        internal_port: 1,
        external_port: 2,
        protocol: "UDP".into(),
        description: "mine".into(),
        ttl_s: 3,
        timeout_ms: 400,
    };
    // SAFETY: a complete struct.
    assert_eq!(unsafe { mapping(&raw const c) }.expect("valid"), expected);
}
