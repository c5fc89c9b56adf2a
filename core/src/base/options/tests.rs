//! Options: spellings, nesting, ranges, and what unknown names are told. Not here: what options do.

use serde_json::json;

use super::*;
use crate::base::error::ErrorKind;

#[test]
fn original_spellings_and_nesting_are_accepted() {
    let options = NodeOptions::from_json(
        &json!({"tcpPort": 8080, "persistenceEnabled": true, "options": {"enableIPv6": true}, "gun": {}}),
        Unknown::Ignore,
    )
    .expect("valid");
    assert_eq!(options.port, 8080);
    assert!(options.enable_persistence == Some(true) && options.enable_ipv6);
}

#[test]
fn explicit_false_wins() {
    let value = json!({"localEnabled": false, "enableLocal": true});
    assert!(!NodeOptions::from_json(&value, Unknown::Reject).expect("valid").local_enabled);
}

#[test]
fn errors_name_the_option() {
    for (value, name) in [
        (json!({"port": 70000}), "port"),
        (json!({"port": "x"}), "port"),
        (json!({"prot": 1}), "prot"),
        (json!({"maxConnections": 0}), "maxConnections"),
        (json!([1]), "options"),
    ] {
        let error = NodeOptions::from_json(&value, Unknown::Reject).expect_err("must fail");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.context().starts_with(name), "{error} should name {name}");
    }
}

#[test]
fn every_option_documents_its_default() {
    let tables = [
        NodeOptions::TABLE,
        HostOptions::TABLE,
        ClientOptions::TABLE,
        DownloadOptions::TABLE,
        AddFileOptions::TABLE,
        FindOptions::TABLE,
        NatOptions::TABLE,
        MappingOptions::TABLE,
        ConnectOptions::TABLE,
        PunchOptions::TABLE,
        TurnOptions::TABLE,
        IceOptions::TABLE,
        RegistryOptions::TABLE,
        SaveConnectionOptions::TABLE,
        WatchOptions::TABLE,
    ];
    for info in tables.concat() {
        assert!(info.doc.contains("Default"), "{} has no documented default", info.name);
    }
}

#[test]
fn what_programs_of_the_original_say_is_passed_over_and_a_misspelling_is_not() {
    let bag = json!({
        "enableWebRTC": true, "useBloomFilter": true, "gun": {}, "dhtOptions": {}, "timeout": 5, "maxPeers": 10,
        "options": {"enableNatTraversal": true, "infoHash": "x"},
    });
    let read = NodeOptions::from_json(&bag, Unknown::Original).expect("nothing of ours");
    assert_eq!(read, NodeOptions::default());
    assert!(
        pair_from_json::<NodeOptions, ClientOptions>(&bag, Unknown::Original).is_ok_and(|(_, c)| c.max_peers == 10)
    );
    assert!(NodeOptions::from_json(&bag, Unknown::Reject).is_err());
    for wrong in [json!({"enablWebRTC": true}), json!({"options": {"shardPrefix": "00"}})] {
        let error = NodeOptions::from_json(&wrong, Unknown::Original).expect_err("misspelt");
        let name = if wrong.get("options").is_some() { "shardPrefix:" } else { "enablWebRTC:" };
        assert!(error.kind() == ErrorKind::InvalidArgument && error.context().starts_with(name), "{error}");
        assert!(pair_from_json::<NodeOptions, HostOptions>(&wrong, Unknown::Original).is_err());
    }
}

#[test]
fn a_name_that_does_something_is_not_listed_as_one_that_does_nothing() {
    for set in [NodeOptions::TABLE, HostOptions::TABLE, ClientOptions::TABLE] {
        let names = set.iter().flat_map(|info| info.aliases.iter().copied().chain([info.json]));
        let listed: Vec<&str> = names.filter(|name| ORIGINAL.contains(name)).collect();
        assert!(listed.is_empty(), "{listed:?}");
    }
}

#[test]
fn state_is_kept_when_a_directory_is_named_and_never_against_the_switch() {
    let dir = |value: serde_json::Value| NodeOptions::from_json(&value, Unknown::Reject).expect("valid").state_dir();
    assert_eq!(dir(json!({})), None);
    assert_eq!(dir(json!({"persistenceEnabled": true})), Some("./.dig-nat-tools".into()));
    assert_eq!(dir(json!({"persistenceDir": "state"})), Some("state".into()));
    assert_eq!(dir(json!({"persistenceDir": "state", "enablePersistence": true})), Some("state".into()));
    for off in ["enablePersistence", "persistenceEnabled"] {
        assert_eq!(dir(json!({"persistenceDir": "state", off: false})), None);
    }
}
