//! The `tongqu` command.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    tongqu::telemetry::log_to_stderr();
    match tongqu::cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("tongqu: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
