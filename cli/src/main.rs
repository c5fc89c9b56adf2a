//! `dig-nat`: shares files with whoever asks, and fetches files by their SHA-256 from every peer that has them.
//! Not here: anything about peers, pieces or proofs, which is the engine's work. This program reads arguments, shows
//! what the engine reports, turns errors into exit codes, and owns the signal handlers.

mod arguments;
mod demo;
mod doctor;
mod generate;
mod get;
mod interrupt;
mod outcome;
mod output;
mod relay;
mod share;
mod units;
mod view;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use interrupt::Interrupt;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return outcome::report(&anyhow::Error::from(error).context("start the runtime"), false),
    };
    let json = arguments.command.json();
    let result = runtime.block_on(async {
        let interrupt = Interrupt::listen(arguments.command.exit_with_parent())?;
        match arguments.command {
            Command::Share(arguments) => share::run(arguments, interrupt).await,
            Command::Get(arguments) => get::run(arguments, interrupt).await,
            Command::Relay(arguments) => relay::run(arguments, interrupt).await,
            Command::Doctor(arguments) => doctor::run(arguments, interrupt).await,
            Command::Demo(arguments) => demo::run(arguments, interrupt).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => outcome::report(&error, json),
    }
}

/// Logs go to standard error, and only warnings of the engine itself unless `DIG_NAT_LOG` asks for more.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DIG_NAT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off,dig_nat_core=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
