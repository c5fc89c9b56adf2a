//! The connection registry's file: read at the start, written after changes, the old version or the new one and never
//! half of one. Not here: what the entries mean (the table).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, Registry, Success};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::method::{Method, Transport};
use crate::net::clock::unix_ms;
use crate::store::atomic;

/// The registry with its file. Clones share one table.
#[derive(Clone, Debug)]
pub struct ConnectionRegistry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Registry>,
    /// The network we are in: any text that differs between networks.
    network: Mutex<String>,
    path: Option<PathBuf>,
    /// Counts changes of the table.
    changes: AtomicU64,
    /// The change up to which the file is written; held while writing, so that writers queue and the later one finds
    /// its work done.
    written: Mutex<u64>,
}

impl ConnectionRegistry {
    /// A registry that forgets everything when dropped.
    pub fn in_memory() -> Self {
        Self::with(Registry::default(), None)
    }

    /// Reads the file, or starts empty when there is none. A damaged file is set aside (`….damaged`) and described in
    /// the warning. An unreadable one is an error. Blocks on the disk.
    pub fn open(path: &Path) -> Result<(Self, Option<String>)> {
        let failed = |error| Error::io(format!("read the connection registry {}", path.display()), error);
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::with(Registry::default(), Some(path.to_owned())), None));
            }
            Err(error) => return Err(failed(error)),
        };
        let read = match text {
            Some(text) => Registry::from_json(limits::MAX_REGISTRY_PEERS, unix_ms(), &text),
            None => Err(Error::new(ErrorKind::LimitReached, "the connection registry is too large")),
        };
        let (table, warning) = match read {
            Ok(table) => (table, None),
            Err(cause) => {
                let aside = path.with_extension("damaged");
                fs::rename(path, &aside).map_err(failed)?;
                let (cause, aside) = (cause.full_message(), aside.display());
                let warning = format!("{}: {cause}; it was moved to {aside}", path.display());
                tracing::warn!("{warning}");
                (Registry::default(), Some(warning))
            }
        };
        Ok((Self::with(table, Some(path.to_owned())), warning))
    }

    /// Names the network we are in from now on.
    pub fn set_network(&self, fingerprint: &str) {
        fingerprint.clone_into(&mut lock(&self.shared.network));
    }

    /// The ways that led to the peer from this network, latest first.
    pub fn get_successful_methods(&self, peer: &str) -> Vec<Entry> {
        let network = lock(&self.shared.network).clone();
        self.table().get_successful_methods(unix_ms(), &network, peer)
    }

    /// The same, or the ways from all networks while ours is not known.
    pub fn methods_here_or_anywhere(&self, peer: &str) -> Vec<Entry> {
        let network = lock(&self.shared.network).clone();
        if network.is_empty() {
            self.table().methods_anywhere(unix_ms(), peer)
        } else {
            self.get_successful_methods(peer)
        }
    }

    /// The way that led to the peer last.
    pub fn get_connection_method(&self, peer: &str) -> Option<Entry> {
        self.get_successful_methods(peer).into_iter().next()
    }

    /// Remembers a success in memory and on disk. Cancel safe: the memory is changed at once, the disk at the latest
    /// with the next change.
    pub async fn save_successful_connection(
        &self,
        peer: &str,
        method: Method,
        transport: Transport,
        success: Success,
    ) -> Result<()> {
        let network = lock(&self.shared.network).clone();
        self.table().save_successful_connection(unix_ms(), &network, peer, (method, transport), success)?;
        self.changed().await
    }

    /// Forgets a peer in all networks. Whether there was something to forget.
    pub async fn remove_connection_method(&self, peer: &str) -> Result<bool> {
        let removed = self.table().remove(peer);
        if removed {
            self.changed().await?;
        }
        Ok(removed)
    }

    /// Forgets what is older than 45 days; how many entries.
    pub async fn cleanup_old_entries(&self) -> Result<usize> {
        let gone = self.table().cleanup_old_entries(unix_ms());
        if gone > 0 {
            self.changed().await?;
        }
        Ok(gone)
    }

    fn with(table: Registry, path: Option<PathBuf>) -> Self {
        let shared = Shared {
            table: Mutex::new(table),
            network: Mutex::new(String::new()),
            path,
            changes: AtomicU64::new(0),
            written: Mutex::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    fn table(&self) -> MutexGuard<'_, Registry> {
        lock(&self.shared.table)
    }

    async fn changed(&self) -> Result<()> {
        self.shared.changes.fetch_add(1, Ordering::SeqCst);
        if self.shared.path.is_none() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.write())
            .await
            .unwrap_or_else(|error| Err(Error::with_source(ErrorKind::Internal, "write the registry", error)))
    }
}

impl Shared {
    fn write(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut written = lock(&self.written);
        let current = self.changes.load(Ordering::SeqCst);
        if *written == current {
            return Ok(());
        }
        // Addresses of peers are nobody else's business on a shared machine.
        let text = lock(&self.table).to_json()?;
        atomic::write_private(path, &text)?;
        *written = current;
        Ok(())
    }
}

/// The file's bytes; `None` when there are too many.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    File::open(path)?.take(limits::MAX_REGISTRY_FILE_BYTES + 1).read_to_end(&mut text)?;
    Ok((text.len() as u64 <= limits::MAX_REGISTRY_FILE_BYTES).then_some(text))
}

/// The guarded values are whole after every statement, so a panic elsewhere cannot have left them torn.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_worked_is_known_after_a_restart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("registry.json");
        let (registry, warning) = ConnectionRegistry::open(&path).expect("new");
        assert_eq!(warning, None);
        registry.set_network("home");
        let saves = (0..20).map(|number| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let success = Success { address: "192.0.2.1".to_owned(), port: number, ..Success::default() };
                let peer = format!("P{number}");
                registry.save_successful_connection(&peer, Method::UdpPunch, Transport::Udp, success).await
            })
        });
        for save in saves.collect::<Vec<_>>() {
            save.await.expect("no panic").expect("saved");
        }
        let (again, warning) = ConnectionRegistry::open(&path).expect("read");
        assert_eq!(warning, None);
        assert!(again.get_successful_methods("P3").is_empty(), "another network");
        again.set_network("home");
        for number in 0..20 {
            assert_eq!(again.get_connection_method(&format!("P{number}")).expect("known").port, number);
        }
        assert!(again.remove_connection_method("P3").await.expect("written"));
        assert!(!again.remove_connection_method("P3").await.expect("nothing to do"));
        assert_eq!(again.cleanup_old_entries().await.expect("written"), 0);
        let (third, _) = ConnectionRegistry::open(&path).expect("read");
        third.set_network("home");
        assert!(third.get_connection_method("P3").is_none() && third.get_connection_method("P4").is_some());
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("registry.json");
        fs::write(&path, b"{ not json").expect("written");
        let (registry, warning) = ConnectionRegistry::open(&path).expect("opened");
        assert!(warning.expect("told").contains("damaged"));
        assert_eq!(fs::read(directory.path().join("registry.damaged")).expect("kept"), b"{ not json");
        let way = (Method::Turn, Transport::Tcp);
        registry.save_successful_connection("A", way.0, way.1, Success::default()).await.expect("saved");
        let (again, warning) = ConnectionRegistry::open(&path).expect("read");
        assert!(warning.is_none() && again.get_connection_method("A").is_some());
    }

    #[tokio::test]
    async fn without_a_file_it_lives_in_memory() {
        let registry = ConnectionRegistry::in_memory();
        let way = (Method::DirectV4, Transport::Tcp);
        registry.save_successful_connection("A", way.0, way.1, Success::default()).await.expect("saved");
        assert_eq!(registry.get_successful_methods("A").len(), 1);
    }
}
