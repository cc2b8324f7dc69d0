//! The `tongqu` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tongqu::telemetry::log_to_stderr(&tongqu::config::log_filter());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("tongqu: no threads to run on: {cause}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(tongqu::cli::Cli::parse().run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("tongqu: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
