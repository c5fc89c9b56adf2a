//! Ctrl-C, SIGTERM and, if asked for, the end of standard input: all mean "stop cleanly". The library installs no
//! signal handler; this program does.

use std::io::Read;

use tokio::sync::watch;

use crate::outcome::Interrupted;

/// Told when the program is to stop. Clones are told the same.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Installs the handlers. A second signal ends the process at once with exit code 130.
    pub fn listen(until_stdin_ends: bool) -> anyhow::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut signals = Signals::install()?;
        let on_signal = sender.clone();
        tokio::spawn(async move {
            signals.next().await;
            on_signal.send_replace(true);
            signals.next().await;
            std::process::exit(130);
        });
        if until_stdin_ends {
            // A plain thread: a blocking read of standard input cannot be cancelled and must not hold up the runtime.
            std::thread::spawn(move || {
                let mut ignored = [0; 64];
                while matches!(std::io::stdin().read(&mut ignored), Ok(count) if count > 0) {}
                sender.send_replace(true);
            });
        }
        Ok(Self(receiver))
    }

    /// Returns when the program is to stop, also if that was asked for earlier. Cancel safe.
    pub async fn wait(&mut self) {
        // The sending tasks live as long as the process; an error could only mean that they are gone, which is a stop.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Runs something unless the program is to stop first.
    pub async fn unless<T>(
        &mut self,
        message: &str,
        work: impl Future<Output = dig_nat_core::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            result = work => Ok(result?),
            () = self.wait() => Err(Interrupted { message: message.to_owned() }.into()),
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
