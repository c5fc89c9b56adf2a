//! `DigNatResult`: what an operation or a listing gave, as fields that C can read one by one and as JSON.
//! Not here: how operations come by it.

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dig_nat_core::Result;
use dig_nat_core::api::{
    AllocationInfo, Diagnosis, DiscoveredPeer, DownloadResult, FileInfo, Message, NatProfile, NatReport, PortMapping,
    PublicIps, RegistryEntry, RemoteFile, SocketInfo, Traversal,
};
use dig_nat_core::base::ids::FileHash;

use crate::argument::c_string;
use crate::connection::{ConnectionObject, DigNatConnection};
use crate::edge::value_edge;
use crate::handles::{self, Handle};
use crate::socket::{DigNatSocket, SocketObject};
use crate::turn::{AllocationObject, DigNatAllocation};

/// What an operation or a listing gave. Fields that do not apply are NULL, 0 or false.
pub struct DigNatResult {
    _opaque: [u8; 0],
}

impl Handle for DigNatResult {
    type Object = ResultObject;
    const NAME: &'static str = "result";
}

/// The fields behind a result.
#[derive(Default)]
pub(crate) struct Record {
    json: CString,
    path: Option<CString>,
    hash: Option<CString>,
    name: Option<CString>,
    content_id: Option<CString>,
    peer: Option<CString>,
    address: Option<CString>,
    text: Option<CString>,
    port: u16,
    size: u64,
    flag: bool,
    object: Mutex<Option<Object>>,
    message: Option<Message>,
    items: Vec<Arc<Record>>,
}

/// What the caller takes out of a result.
enum Object {
    Connection(Arc<ConnectionObject>),
    Socket(Arc<SocketObject>),
    Allocation(Arc<AllocationObject>),
}

/// What a `DigNatResult` stands for: the fields, and the handles of items that were looked at.
pub(crate) struct ResultObject {
    record: Arc<Record>,
    items: Mutex<HashMap<usize, Item>>,
}

struct Item(*mut DigNatResult);

// SAFETY: a handle is a number.
unsafe impl Send for Item {}

impl ResultObject {
    pub(crate) fn new(record: Arc<Record>) -> Self {
        Self { record, items: Mutex::default() }
    }

    fn item(&self, index: usize) -> Option<*mut DigNatResult> {
        let record = self.record.items.get(index)?;
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let put = || Item(handles::put(Arc::new(Self::new(Arc::clone(record)))));
        Some(items.entry(index).or_insert_with(put).0)
    }
}

impl Drop for ResultObject {
    fn drop(&mut self) {
        for (_, item) in self.items.get_mut().unwrap_or_else(PoisonError::into_inner).drain() {
            handles::take(item.0.cast_const());
        }
    }
}

impl Record {
    pub(crate) fn nothing() -> Self {
        Self { json: c_string("null"), ..Self::default() }
    }

    pub(crate) fn flag(flag: bool) -> Self {
        Self { json: c_string(flag.to_string()), flag, ..Self::default() }
    }

    pub(crate) fn hash(hash: FileHash) -> Self {
        Self { hash: Some(shown(hash)), ..Self::of(&hash) }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self { text: Some(shown(text)), ..Self::of(&text) }
    }

    pub(crate) fn file(file: &FileInfo) -> Self {
        Self {
            path: Some(shown(file.path.display())),
            hash: Some(shown(file.hash)),
            size: file.size,
            content_id: file.content_id.as_ref().map(shown),
            name: file.path.file_name().map(Path::new).map(|name| shown(name.display())),
            ..Self::of(file)
        }
    }

    pub(crate) fn remote(file: &RemoteFile) -> Self {
        Self { hash: Some(shown(file.hash)), size: file.size, name: file.name.as_ref().map(shown), ..Self::of(file) }
    }

    pub(crate) fn download(file: &DownloadResult) -> Self {
        Self { path: Some(shown(file.path.display())), hash: Some(shown(file.hash)), size: file.size, ..Self::of(file) }
    }

    pub(crate) fn peer(peer: &DiscoveredPeer) -> Self {
        Self {
            peer: Some(shown(&peer.id)),
            address: Some(shown(&peer.address)),
            port: peer.port,
            items: peer.addresses.iter().map(|address| Arc::new(Self::text(address))).collect(),
            ..Self::of(peer)
        }
    }

    pub(crate) fn connection(connection: Arc<ConnectionObject>) -> Self {
        let (peer, address) = connection.names();
        let json = serde_json::json!({ "peer": peer, "address": address });
        Self {
            peer: Some(shown(peer)),
            address: Some(shown(address)),
            object: Mutex::new(Some(Object::Connection(connection))),
            ..Self::of(&json)
        }
    }

    /// What a socket is, and the socket itself where it was just made.
    pub(crate) fn socket(info: &SocketInfo, socket: Option<Arc<SocketObject>>) -> Self {
        Self {
            text: Some(shown(info.connection_type)),
            address: Some(shown(&info.remote_address)),
            port: info.remote_port,
            object: Mutex::new(socket.map(Object::Socket)),
            ..Self::of(info)
        }
    }

    /// What a TURN server granted, and the allocation itself where it was just made.
    pub(crate) fn allocation(info: &AllocationInfo, allocation: Option<Arc<AllocationObject>>) -> Self {
        Self {
            address: Some(shown(&info.relayed_address)),
            port: info.relayed_port,
            object: Mutex::new(allocation.map(Object::Allocation)),
            ..Self::of(info)
        }
    }

    /// Bytes that came in, and from whom as far as that is not clear; `None` is the end.
    pub(crate) fn data(data: Option<(Option<SocketAddr>, Bytes)>) -> Self {
        let Some((from, data)) = data else { return Self::nothing() };
        let message = Message { kind: String::new(), text: false, data };
        Self {
            address: from.map(|from| shown(from.ip())),
            port: from.map_or(0, |from| from.port()),
            ..Self::message(Some(message))
        }
    }

    pub(crate) fn registry_entry(entry: Option<RegistryEntry>) -> Self {
        let Some(entry) = entry else { return Self::nothing() };
        Self {
            text: Some(shown(entry.connection_type)),
            peer: Some(shown(&entry.peer_id)),
            address: entry.address.as_ref().map(shown),
            port: entry.port.unwrap_or(0),
            ..Self::of(&entry)
        }
    }

    /// A count.
    pub(crate) fn number(number: u64) -> Self {
        Self { size: number, ..Self::of(&number) }
    }

    /// A connection and how it came about, which is the JSON.
    pub(crate) fn reached(connection: Arc<ConnectionObject>, traversal: &Traversal) -> Self {
        Self {
            text: Some(shown(traversal.method)),
            port: traversal.port,
            flag: traversal.relayed,
            json: Self::of(traversal).json,
            ..Self::connection(connection)
        }
    }

    /// The type of the NAT, advice as items, everything in the JSON.
    pub(crate) fn diagnosis(found: &Diagnosis) -> Self {
        Self {
            text: Some(shown(found.nat.nat_type)),
            flag: found.peer.as_ref().is_some_and(|peer| peer.reached.is_some()),
            items: found.advice.iter().map(|advice| Arc::new(Self::text(advice))).collect(),
            ..Self::of(found)
        }
    }

    /// A message; `None` is the end of the connection.
    pub(crate) fn message(message: Option<Message>) -> Self {
        let Some(message) = message else { return Self::nothing() };
        let json = serde_json::json!({ "kind": message.kind, "text": message.text, "bytes": message.data.len() });
        Self {
            name: Some(shown(&message.kind)),
            size: message.data.len() as u64,
            flag: message.text,
            message: Some(message),
            ..Self::of(&json)
        }
    }

    pub(crate) fn nat(profile: NatProfile) -> Self {
        let public = profile.public_v4.or(profile.public_v6);
        let report = NatReport::from(profile);
        Self {
            text: Some(shown(report.nat_type)),
            address: public.map(|public| shown(public.ip())),
            port: public.map_or(0, |public| public.port()),
            ..Self::of(&report)
        }
    }

    /// What a node knows of its NAT; nothing is known at first.
    pub(crate) fn optional_nat(profile: Option<NatProfile>) -> Self {
        profile.map_or_else(Self::nothing, Self::nat)
    }

    pub(crate) fn public_ips(found: &PublicIps) -> Self {
        let items = found.ipv4.iter().chain(&found.ipv6);
        Self { items: items.map(|address| Arc::new(Self::text(&address.to_string()))).collect(), ..Self::of(found) }
    }

    pub(crate) fn port_mapping(mapping: &PortMapping) -> Self {
        let address = Some(shown(mapping.external_address));
        Self { address, port: mapping.external_port, ..Self::of(mapping) }
    }

    pub(crate) fn list<T: serde::Serialize>(items: &[T], record: impl Fn(&T) -> Self) -> Self {
        Self { items: items.iter().map(|item| Arc::new(record(item))).collect(), ..Self::of(&items) }
    }

    fn of(value: &impl serde::Serialize) -> Self {
        Self {
            json: c_string(serde_json::to_string(value).expect("plain records have a JSON form")),
            ..Self::default()
        }
    }
}

/// Hands a result out.
pub(crate) unsafe fn give(out: *mut *mut DigNatResult, record: Record) {
    // SAFETY: checked by `argument::out`.
    unsafe { out.write(handles::put(Arc::new(ResultObject::new(Arc::new(record))))) };
}

/// The text form of something. By value, because display adapters and numbers are made for the call.
#[allow(clippy::needless_pass_by_value, reason = "see above")]
fn shown(text: impl ToString) -> CString {
    c_string(text.to_string())
}

/// The whole result as JSON: an object, an array, "true", "false", or "null" for an operation without a result. Belongs
/// to the result. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_json(result: *const DigNatResult) -> *const c_char {
    value_edge(c"".as_ptr(), || Ok(handles::get(result)?.record.json.as_ptr()))
}

/// Where the file is (adding and listing files, downloads). Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_path(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.path.as_ref())
}

/// SHA-256 in 64 hex digits (everything about files, hashing). Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_hash(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.hash.as_ref())
}

/// File name without directories; the type of a message. Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_name(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.name.as_ref())
}

/// The readable id of a shared file, if it has one. Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_content_id(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.content_id.as_ref())
}

/// Peer id (found peers, connections). Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_peer(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.peer.as_ref())
}

/// Host of a found peer's best address, the multiaddr of a connection, the public address of this machine, the other side
/// of a socket, the relayed address of an allocation, or the sender of a datagram. Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_address(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.address.as_ref())
}

/// The text of an item that is only a text (addresses, ways), or the type of a NAT or a socket. Belongs to the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_text(result: *const DigNatResult) -> *const c_char {
    field(result, |record| record.text.as_ref())
}

/// Port of what dig_nat_result_address gives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_port(result: *const DigNatResult) -> u16 {
    value_edge(0, || Ok(handles::get(result)?.record.port))
}

/// Bytes of the file or message; seconds of a lifetime; how many ways were forgotten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_size(result: *const DigNatResult) -> u64 {
    value_edge(0, || Ok(handles::get(result)?.record.size))
}

/// Whether the removed file was shared, the deleted mapping existed, the forgotten peer was known, or signalling goes on;
/// whether a message is text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_flag(result: *const DigNatResult) -> bool {
    value_edge(false, || Ok(handles::get(result)?.record.flag))
}

/// How many items the result has: files, peers, addresses (those of a found peer too).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_count(result: *const DigNatResult) -> usize {
    value_edge(0, || Ok(handles::get(result)?.record.items.len()))
}

/// One item, counted from 0; NULL behind the last one. Belongs to the result: do not free it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_item(result: *const DigNatResult, index: usize) -> *const DigNatResult {
    value_edge(std::ptr::null(), || {
        Ok(handles::get(result)?.item(index).map_or(std::ptr::null(), <*mut _>::cast_const))
    })
}

/// Takes the connection out of the result of connecting or accepting. The caller frees it. NULL when there is none, or
/// it was taken already; a connection that nobody takes is closed with the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_take_connection(result: *const DigNatResult) -> *mut DigNatConnection {
    value_edge(std::ptr::null_mut(), || {
        Ok(match take(result, |object| matches!(object, Object::Connection(_)))? {
            Some(Object::Connection(connection)) => handles::put(connection),
            _ => std::ptr::null_mut(),
        })
    })
}

/// Takes the socket out of the result of hole punching or ICE. The caller frees it. NULL when there is none, or it was
/// taken already; a socket that nobody takes is closed with the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_take_socket(result: *const DigNatResult) -> *mut DigNatSocket {
    value_edge(std::ptr::null_mut(), || {
        Ok(match take(result, |object| matches!(object, Object::Socket(_)))? {
            Some(Object::Socket(socket)) => handles::put(socket),
            _ => std::ptr::null_mut(),
        })
    })
}

/// Takes the allocation out of the result of dig_nat_create_turn_allocation. The caller frees it. NULL when there is none,
/// or it was taken already; an allocation that nobody takes is released with the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_take_allocation(result: *const DigNatResult) -> *mut DigNatAllocation {
    value_edge(std::ptr::null_mut(), || {
        Ok(match take(result, |object| matches!(object, Object::Allocation(_)))? {
            Some(Object::Allocation(allocation)) => handles::put(allocation),
            _ => std::ptr::null_mut(),
        })
    })
}

/// The object of a result if it is the wanted one; it leaves the result.
fn take(result: *const DigNatResult, wanted: impl FnOnce(&Object) -> bool) -> Result<Option<Object>> {
    let result = handles::get(result)?;
    let mut object = result.record.object.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(if object.as_ref().is_some_and(wanted) { object.take() } else { None })
}

/// The bytes of a received message, dig_nat_result_size of them, not NUL-terminated. Belongs to the result. NULL when the
/// connection has ended instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_data(result: *const DigNatResult) -> *const u8 {
    value_edge(std::ptr::null(), || {
        let object = handles::get(result)?;
        Ok(object.record.message.as_ref().map_or(std::ptr::null(), |message| message.data.as_ptr()))
    })
}

/// Frees a result that was handed out through a `DigNatResult **`, and everything that belongs to it. NULL is fine.
/// Results passed to a callback and items of results belong to the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_result_free(result: *mut DigNatResult) {
    value_edge((), || {
        handles::take(result.cast_const());
        Ok(())
    });
}

fn field(result: *const DigNatResult, field: impl FnOnce(&Record) -> Option<&CString>) -> *const c_char {
    // The pointer stays valid because the table holds a reference until the handle is freed.
    value_edge(std::ptr::null(), || {
        Ok(field(&handles::get(result)?.record).map_or(std::ptr::null(), |text| text.as_ptr()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_belong_to_their_list() {
        let list = Record::list(&["a", "b"], |text| Record::text(text));
        let list: *mut DigNatResult = handles::put(Arc::new(ResultObject::new(Arc::new(list))));
        // SAFETY: handles are never dereferenced.
        unsafe {
            assert_eq!(dig_nat_result_count(list), 2);
            let item = dig_nat_result_item(list, 1);
            assert_eq!(item, dig_nat_result_item(list, 1));
            assert_eq!(std::ffi::CStr::from_ptr(dig_nat_result_text(item)), c"b");
            assert!(dig_nat_result_item(list, 2).is_null());
            assert!(dig_nat_result_path(item).is_null());
            dig_nat_result_free(list);
            assert!(dig_nat_result_text(item).is_null());
        }
    }
}
