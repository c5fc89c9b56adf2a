//! A browser's gun.js, in headless Chromium: it reads what we announce, live, and we find what it writes. Not here: gun.js in
//! Node ([`discovery`](super::discovery)).

use std::process::Stdio;

use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::discovery::source::Source;
use dig_nat_core::gun::{Entry, GunBackend, GunRelay, GunRelayConfig, Record, Update};
use dig_nat_tests::tree;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::discovery::{address, found, node};
use super::graph::{client, path, tests};
use super::stock::{Relay, WAIT};

/// Where Debian has it: what lies in the search path is a script, which would be killed in its place.
const CHROMIUM: &str = "/usr/lib/chromium/chromium-headless-shell";

/// A page in a browser.
struct Page {
    browser: Child,
    _directory: TempDir,
}

impl Page {
    fn open(url: &str, hash: &FileHash) -> Self {
        let scripts = tree::root().join("tests/gun-js");
        let directory = tempfile::tempdir().expect("a directory");
        let wanted = json!({ "url": url, "hash": hash.to_string(), "name": "browser-host" });
        let text = format!(
            "<!doctype html><script>const wanted = {wanted}</script><script src=\"file://{0}/node_modules/gun/gun.js\">\
             </script><script src=\"file://{0}/browser.js\"></script>",
            scripts.display()
        );
        let page = directory.path().join("page.html");
        std::fs::write(&page, text).expect("written");
        let browser = Command::new(CHROMIUM)
            // As root there is no sandbox; and it stays open only for somebody who could connect to it.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("install chromium-headless-shell");
        Self { browser, _directory: directory }
    }

    async fn close(mut self) {
        self.browser.kill().await.expect("it runs");
    }
}

/// What the page reports of a record with this address.
async fn reported(updates: &mut mpsc::Receiver<Update>, ip: &str) -> Record {
    let waiting = async {
        loop {
            let update = updates.recv().await.expect("running");
            if let (true, Entry::Record(record)) = (update.key == ip, update.entry)
                && record.len() >= 6
            {
                return record;
            }
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("the browser has not seen {ip}"))
}

async fn through(url: String) {
    let urls = [url.clone()];
    let hash = FileHash::of(b"content");
    let (one, other) = (node(&urls, 1).await, node(&urls, 2).await);
    let reader = client(&urls);
    let mut reports = reader.subscribe(&path(&["browser"])).expect("room");
    let mut search = other.discovery.search(ContentKey::Hash(hash));
    one.announce(hash).await;
    let page = Page::open(&url, &hash);
    let seen = reported(&mut reports, "192.0.2.1").await;
    let agent = seen["agent"].value.as_text().expect("text").to_owned();
    assert!(agent.contains("Chrome/"), "{agent}");
    assert_eq!(seen["name"].value, one.peer.as_str().into());
    assert_eq!((&seen["port"].value, &seen["available"].value), (&9000.0.into(), &true.into()));
    let written = found(&mut search, "what the browser wrote", |one| one.addresses == ["198.51.100.9:8080"]).await;
    assert!(written.id.is_none() && written.confidence < 0.5, "nobody has signed it");
    // News reach the page while it is open.
    one.addresses.send_replace(vec![address(3)]);
    assert_eq!(reported(&mut reports, "192.0.2.3").await["name"].value, one.peer.as_str().into());
    page.close().await;
    reader.stop().await;
    one.stop().await;
    other.stop().await;
}

async fn through_stock(axe: bool) {
    let mut relay = Relay::start(axe).await;
    through(relay.url()).await;
    relay.assert_alive();
}

async fn through_ours() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    through(format!("http://{}/gun", relay.address())).await;
    relay.stop().await;
}

tests! {
    a_browser_and_we_find_each_other: through_stock(false);
    a_browser_and_we_find_each_other_with_axe: through_stock(true);
    a_browser_and_we_find_each_other_through_our_relay: through_ours();
}
