//! Making and taking back announcements, at this node or at a host of this process, and until when they hold. Not here:
//! the timer of those that end (`expiring`), and carrying them (`discovery`).

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::node::{Inner, Node, Running, lock};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::base::options::{AnnounceOptions, FromJson};
use crate::base::priority::Priority;

/// One announcement on demand: how widely, and by which node.
pub(super) type Announced = (Priority, Weak<Inner>);

impl Node {
    /// Announces under a key as the options say.
    pub(super) async fn announce_for(&self, key: ContentKey, options: &AnnounceOptions) -> Result<()> {
        options.validate()?;
        let priority: Priority = options.priority.parse()?;
        let running = self.ensure_started().await?;
        let host = match options.port {
            0 => self.clone(),
            port if port == running.engine.fabric.port() => self.clone(),
            port => Self::on_port(port).ok_or_else(|| {
                let nobody = "nothing of this process listens there; start a host on it first, or leave it out";
                Error::invalid("port", format_args!("{port}: {nobody}"))
            })?,
        };
        let mut keys = vec![key.clone()];
        if let (Some(id), ContentKey::Hash(hash)) = (&options.content_id, &key) {
            self.add_content_mapping(id, *hash)?;
            host.add_content_mapping(id, *hash)?;
            keys.push(ContentKey::Id(id.as_str().into()));
        }
        let there = host.running().ok_or_else(|| Error::new(ErrorKind::InvalidState, "the host was stopped"))?;
        // From here on an earlier one of this key does not end by its own time.
        self.stays(&key).await;
        let end = options.ttl_ms.map(|ttl| Instant::now() + Duration::from_millis(ttl));
        let again = self.note_announced(&keys, priority, &host)?;
        for (key, again) in keys.iter().zip(again) {
            host.tell(&there, key, priority, end, again).await;
        }
        self.expire(key, end, &running);
        Ok(())
    }

    /// Announces a key here, in addition to what this node shares anyway. `again`: it was announced before.
    async fn tell(&self, running: &Running, key: &ContentKey, priority: Priority, end: Option<Instant>, again: bool) {
        let discovery = &running.engine.discovery;
        let shares = self.shares(key);
        let priority = if shares { priority.max(self.priority(key)) } else { priority };
        let is_new = running.reachability.own().end_at(key.lookup_key(), end.filter(|_| !shares));
        discovery.announce(key, priority).await;
        if is_new && again {
            discovery.renew(key).await;
        }
    }

    /// Announces a key here no longer, unless this node shares it.
    async fn tell_no_more(&self, key: &ContentKey) {
        // A node that was stopped meanwhile has taken everything back.
        let Some(running) = self.running() else { return };
        let discovery = &running.engine.discovery;
        let had_end = running.reachability.own().end_at(key.lookup_key(), None);
        if !self.shares(key) {
            return discovery.withdraw(key).await;
        }
        discovery.announce(key, self.priority(key)).await;
        if had_end {
            discovery.renew(key).await;
        }
    }

    fn shares(&self, key: &ContentKey) -> bool {
        self.inner.library.get(key).is_some()
    }

    /// Takes an announcement back, wherever it was made.
    pub(super) async fn withdraw(&self, key: &ContentKey) -> Result<bool> {
        let mut any = false;
        for key in self.with_ids(key) {
            let Some(host) = self.forget_announced(&key) else { continue };
            any = true;
            host.tell_no_more(&key).await;
        }
        // Last: whoever announces it anew waits for the end that it finds here.
        lock(&self.inner.expiries).remove(key);
        Ok(any)
    }

    /// Takes back what was announced at other nodes of this process; they go on without this one.
    pub(super) async fn leave_others(&self) {
        for (key, _, host) in self.announced_elsewhere() {
            host.tell_no_more(&key).await;
        }
    }

    /// Announces that again, where those nodes still run.
    pub(super) async fn return_to_others(&self) {
        for (key, priority, host) in self.announced_elsewhere() {
            if let Some(running) = host.running() {
                host.tell(&running, &key, priority, None, true).await;
            }
        }
    }

    /// A key with the content ids of its hash.
    fn with_ids(&self, key: &ContentKey) -> Vec<ContentKey> {
        let mut keys = vec![key.clone()];
        if let ContentKey::Hash(hash) = key {
            let ids = self.inner.library.mappings().into_iter().filter(|(_, mapped)| mapped == hash);
            keys.extend(ids.map(|(id, _)| ContentKey::Id(id)));
        }
        keys
    }

    /// What this node announces itself on demand, for the next start.
    pub(super) fn announced_here(&self) -> Vec<(ContentKey, Priority)> {
        let announced = lock(&self.inner.announced);
        let here = announced.iter().filter(|(_, (_, host))| self.is_at(host));
        here.map(|(key, (priority, _))| (key.clone(), *priority)).collect()
    }

    fn announced_elsewhere(&self) -> Vec<(ContentKey, Priority, Self)> {
        let announced = lock(&self.inner.announced);
        let elsewhere = announced.iter().filter(|(_, (_, host))| !self.is_at(host));
        let there = elsewhere
            .filter_map(|(key, (priority, host))| Some((key.clone(), *priority, Self { inner: host.upgrade()? })));
        there.collect()
    }

    fn is_at(&self, host: &Weak<Inner>) -> bool {
        std::ptr::eq(host.as_ptr(), Arc::as_ptr(&self.inner))
    }

    /// All of these, or none without room for them. Which were announced before.
    fn note_announced(&self, keys: &[ContentKey], priority: Priority, host: &Self) -> Result<Vec<bool>> {
        let mut announced = lock(&self.inner.announced);
        let new = keys.iter().filter(|key| !announced.contains_key(*key)).count();
        if announced.len() + new > limits::MAX_SHARED_FILES {
            let full = format!("more than {} contents are announced", limits::MAX_SHARED_FILES);
            return Err(Error::new(ErrorKind::LimitReached, full));
        }
        let host = Arc::downgrade(&host.inner);
        Ok(keys.iter().map(|key| announced.insert(key.clone(), (priority, host.clone())).is_some()).collect())
    }

    fn forget_announced(&self, key: &ContentKey) -> Option<Self> {
        let (_, host) = lock(&self.inner.announced).remove(key)?;
        host.upgrade().map(|inner| Self { inner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FileHost, PeerDiscoveryManager};
    use crate::base::options::{AddFileOptions, HostOptions, NodeOptions};

    fn options() -> NodeOptions {
        NodeOptions { interfaces: vec!["lo".to_owned()], local_only: true, ..NodeOptions::default() }
    }

    /// Waits until as many announcements are there.
    async fn until_announced(node: &Node, count: usize) {
        let there = async {
            while lock(&node.inner.announced).len() != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there).await.expect("in time");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_announcement_with_a_lifetime_ends_by_itself() {
        let one = PeerDiscoveryManager::new(options()).expect("made");
        let (brief, kept): (ContentKey, ContentKey) = ("brief".parse().expect("a key"), "kept".parse().expect("a key"));
        let ttl = |ttl_ms| AnnounceOptions { ttl_ms, ..AnnounceOptions::default() };
        one.announce(brief.clone(), ttl(Some(1000))).await.expect("announced");
        // Said again, it holds as the last word says.
        one.announce(kept.clone(), ttl(Some(1000))).await.expect("announced");
        one.announce(kept.clone(), ttl(None)).await.expect("announced");
        assert_eq!(lock(&one.node.inner.announced).len(), 2);
        until_announced(&one.node, 1).await;
        assert!(!one.withdraw(&brief).await.expect("asked") && lock(&one.node.inner.expiries).is_empty());
        // What ends by itself does not come again with the next start.
        one.announce(brief.clone(), ttl(Some(3_600_000))).await.expect("announced");
        one.stop().await.expect("stopped");
        until_announced(&one.node, 1).await;
        assert!(lock(&one.node.inner.expiries).is_empty());
        one.start().await.expect("started");
        assert!(one.withdraw(&kept).await.expect("asked") && !one.withdraw(&brief).await.expect("asked"));
        for wrong in [0, 999, 366 * 24 * 3_600_000] {
            let error = one.announce(brief.clone(), ttl(Some(wrong))).await.expect_err("out of range");
            assert!(error.to_string().starts_with("ttl"), "{error}");
        }
        one.stop().await.expect("stopped");
    }

    fn announces(node: &Node, key: &ContentKey) -> bool {
        node.running().is_some_and(|running| running.engine.discovery.announces(key))
    }

    /// How long what a node signs of a key would hold that is to hold for two days.
    fn lifetime(node: &Node, key: &ContentKey) -> Duration {
        let two_days = limits::MAX_ANNOUNCEMENT_TTL;
        node.running().expect("runs").reachability.own().lifetime(&key.lookup_key(), two_days)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_signed_says_itself_when_it_ends() {
        let (one, host) = (
            PeerDiscoveryManager::new(options()).expect("made"),
            FileHost::new(options(), HostOptions::default()).expect("made"),
        );
        host.start().await.expect("started");
        let hash: ContentKey = "ab".repeat(32).parse().expect("a hash");
        let id: ContentKey = "an id".parse().expect("an id");
        let announce = |port, ttl_ms| {
            let content_id = Some("an id".to_owned());
            one.announce(hash.clone(), AnnounceOptions { port, content_id, ttl_ms, ..AnnounceOptions::default() })
        };
        let hour = Duration::from_secs(3600);
        for (port, node) in [(0, &one.node), (host.port(), &host.node)] {
            announce(port, Some(3_600_000)).await.expect("announced");
            assert!([&hash, &id].iter().all(|key| lifetime(node, key) <= hour && lifetime(node, key) > hour / 2));
            announce(port, None).await.expect("announced");
            assert!([&hash, &id].iter().all(|key| lifetime(node, key) == limits::MAX_ANNOUNCEMENT_TTL));
            announce(port, Some(3_600_000)).await.expect("announced");
            assert!(one.withdraw(&hash).await.expect("taken back"));
            assert!([&hash, &id].iter().all(|key| lifetime(node, key) == limits::MAX_ANNOUNCEMENT_TTL));
        }
        one.stop().await.expect("stopped");
        host.stop().await.expect("stopped");
    }

    #[tokio::test]
    async fn what_is_announced_anew_while_it_is_taken_back_stays() {
        let one = PeerDiscoveryManager::new(options()).expect("made");
        let key: ContentKey = "again".parse().expect("a key");
        let brief = AnnounceOptions { ttl_ms: Some(3_600_000), ..AnnounceOptions::default() };
        one.announce(key.clone(), brief).await.expect("announced");
        // Its time has come.
        let taking_back = one.node.taking_back(&key).await.expect("it ends");
        let again = tokio::spawn({
            let (one, key) = (one.clone(), key.clone());
            async move { one.announce(key, AnnounceOptions::default()).await }
        });
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!again.is_finished(), "it waits");
        assert!(one.withdraw(&key).await.expect("taken back") && !announces(&one.node, &key));
        drop(taking_back);
        again.await.expect("no panic").expect("announced");
        assert!(announces(&one.node, &key) && lock(&one.node.inner.expiries).is_empty());
        one.stop().await.expect("stopped");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_host_shares_itself_outlasts_what_others_announce_of_it() {
        let host = FileHost::new(options(), HostOptions::default()).expect("made");
        host.start().await.expect("started");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shared");
        std::fs::write(&path, "content").expect("written");
        let file = host.add_file(path, AddFileOptions::default()).wait().await.expect("shared");
        let (shared, other) = (ContentKey::Hash(file.hash), "not shared".parse::<ContentKey>().expect("a key"));
        let one = PeerDiscoveryManager::new(options()).expect("made");
        let at_host = |ttl_ms| {
            let priority = "low".to_owned();
            AnnounceOptions { port: host.port(), priority, ttl_ms, ..AnnounceOptions::default() }
        };
        for key in [&shared, &other] {
            one.announce(key.clone(), at_host(Some(3_600_000))).await.expect("announced");
        }
        assert_eq!(lifetime(&host.node, &shared), limits::MAX_ANNOUNCEMENT_TTL);
        assert!(one.withdraw(&shared).await.expect("asked") && one.withdraw(&other).await.expect("asked"));
        assert!(announces(&host.node, &shared) && !announces(&host.node, &other));
        // The stop takes back too, and a start announces again what was not to end.
        one.announce(other.clone(), at_host(None)).await.expect("announced");
        assert!(announces(&host.node, &other));
        one.stop().await.expect("stopped");
        assert!(announces(&host.node, &shared) && !announces(&host.node, &other));
        one.start().await.expect("started");
        assert!(announces(&host.node, &other));
        one.announce(other.clone(), at_host(Some(3_600_000))).await.expect("announced");
        one.stop().await.expect("stopped");
        one.start().await.expect("started");
        assert!(!announces(&host.node, &other), "what was to end does not come again");
        one.stop().await.expect("stopped");
        host.stop().await.expect("stopped");
    }
}
