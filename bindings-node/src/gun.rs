//! A Gun database of the program: commands of the engine on their way to JavaScript, which executes them on it, and what
//! comes of them on its way back. Not here: the bridge between both (core's), and executing (`lib/gun-instance.js`).

use std::sync::Arc;

use dig_nat_core::base::limits;
use dig_nat_core::gun::{GunBackend, GunBridge};
use dig_nat_core::{Error, ErrorKind};
use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

/// Executes commands, which are JSON; weak: it never keeps the process alive.
type CommandFunction = ThreadsafeFunction<String, (), String, Status, false, true, { limits::GUN_COMMAND_QUEUE }>;

/// The engine's side of a database. Objects that use it keep it.
#[napi]
pub struct NativeGun {
    inner: Arc<GunBridge>,
}

impl NativeGun {
    pub(crate) fn backend(&self) -> Arc<dyn GunBackend> {
        self.inner.clone()
    }
}

#[napi]
impl NativeGun {
    /// Over the database on which this function executes commands.
    #[napi(constructor, async_runtime)]
    pub fn new(execute: CommandFunction) -> Self {
        let execute = move |command: String| match execute.call(command, ThreadsafeFunctionCallMode::NonBlocking) {
            Status::Ok => Ok(()),
            Status::QueueFull => {
                Err(Error::new(ErrorKind::LimitReached, "too many commands wait for the program's Gun database"))
            }
            _ => Err(Error::new(ErrorKind::InvalidState, "the program's Gun database is gone")),
        };
        Self { inner: Arc::new(GunBridge::new(Box::new(execute))) }
    }

    /// What came of a put.
    #[napi]
    pub fn reply(&self, id: i64, error: Option<String>) {
        self.inner.reply(id.unsigned_abs(), error.as_deref());
    }

    /// What stands at a path that is listened to, as JSON; false when nobody listens there any more.
    #[napi]
    pub fn event(&self, id: i64, event: String) -> bool {
        self.inner.event(id.unsigned_abs(), &event)
    }
}
