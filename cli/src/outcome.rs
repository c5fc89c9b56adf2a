//! How a run ends: exit codes, and error texts that say what happened, why, and what to do.
//! Not here: which errors exist (the engine's table of kinds).

use std::fmt;
use std::process::ExitCode;

use dig_nat_core::base::error::{Error, ErrorKind};
use dig_nat_core::base::events::ErrorRecord;

use crate::output;

/// Every exit code with its meaning; `--help` and `docs/command-line.md` show this table.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (DONE, "done; for share: stopped by Ctrl-C after everything was shared"),
    (FAILED, "failed for another reason than those below"),
    (USAGE, "wrong arguments or option values"),
    (NO_PEERS, "nobody who has the content was found, no peer could be reached, or all of them went away"),
    (VERIFICATION_FAILED, "the received data does not have the requested hash"),
    (LOCAL_FILE, "a local file or directory is missing, not permitted, busy or changed, or the disk is full"),
    (INTERRUPTED, "interrupted; a download continues where it was when the same command is run again"),
];

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_PEERS: u8 = 3;
const VERIFICATION_FAILED: u8 = 4;
const LOCAL_FILE: u8 = 5;
const INTERRUPTED: u8 = 130;

/// The user stopped the program before its work was done.
#[derive(Debug)]
pub struct Interrupted {
    /// What is left, and how to go on.
    pub message: String,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Interrupted {}

/// The table of exit codes for `--help`.
pub fn exit_code_help() -> String {
    let rows = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    std::iter::once("Exit codes:".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Shows an error and chooses the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let code = exit_code(error);
    if is_closed_output(error) {
        // Whoever read our output has had enough, as in `dig-nat share ... | head`.
        return ExitCode::from(DONE);
    }
    if json {
        // If this line cannot be written, the exit code still tells.
        let _ = output::json("error", &record(error));
    }
    eprint!("{}", text(error));
    ExitCode::from(code)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Interrupted>().is_some() {
        return INTERRUPTED;
    }
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::InvalidArgument) => USAGE,
        Some(
            ErrorKind::NoPeers | ErrorKind::ContentNotFound | ErrorKind::PeerUnreachable | ErrorKind::ConnectionClosed,
        ) => NO_PEERS,
        Some(ErrorKind::VerificationFailed) => VERIFICATION_FAILED,
        Some(
            ErrorKind::FileNotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::DiskFull
            | ErrorKind::FileBusy
            | ErrorKind::FileChanged
            | ErrorKind::Io,
        ) => LOCAL_FILE,
        Some(ErrorKind::Cancelled) => INTERRUPTED,
        _ => FAILED,
    }
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn record(error: &anyhow::Error) -> ErrorRecord {
    if let Some(error) = error.downcast_ref::<Error>() {
        return ErrorRecord::from(error);
    }
    let kind = if error.downcast_ref::<Interrupted>().is_some() { ErrorKind::Cancelled } else { ErrorKind::Internal };
    ErrorRecord { code: kind.code(), number: kind.number(), message: format!("{error:#}"), advice: kind.advice() }
}

/// Message, causes and advice, each on its own line.
fn text(error: &anyhow::Error) -> String {
    let mut lines = vec![format!("dig-nat: {error}")];
    let mut last = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            lines.push(format!("  cause: {cause}"));
        }
        last = cause;
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        lines.push(format!("  advice: {}", error.kind().advice()));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_ends_with_a_listed_code() {
        for kind in ErrorKind::ALL {
            let code = exit_code(&Error::new(*kind, "x").into());
            assert!(code != DONE && EXIT_CODES.iter().any(|(listed, _)| *listed == code), "{kind:?} gives {code}");
        }
        assert_eq!(exit_code(&anyhow::anyhow!("x")), FAILED);
        assert_eq!(exit_code(&Interrupted { message: String::new() }.into()), INTERRUPTED);
    }

    #[test]
    fn context_does_not_hide_the_kind() {
        let error = anyhow::Error::from(Error::new(ErrorKind::DiskFull, "write a")).context("while b");
        assert_eq!(exit_code(&error), LOCAL_FILE);
        assert_eq!(record(&error).code, "ERR_DISK_FULL");
    }

    #[test]
    fn texts_have_message_cause_and_advice() {
        let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
        let shown = text(&Error::io("open a.bin", cause).into());
        assert_eq!(shown, "dig-nat: open a.bin\n  cause: entity not found\n  advice: check the path\n");
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let documentation = include_str!("../../docs/command-line.md");
        for (code, meaning) in EXIT_CODES {
            let row = format!("| {code} | {meaning} |");
            assert!(documentation.contains(&row), "docs/command-line.md lacks: {row}");
        }
    }
}
