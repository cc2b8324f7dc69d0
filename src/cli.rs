//! The command line: words in, a flow or an offline check, an exit code out.

mod remote;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::verify::{verify_directory, verify_receipt};
use crate::authn::issuers::Issuers;
use crate::authn::signing::SigningKey;
use crate::clock::{Clock, SECOND_US};
use crate::config::{Config, supervisor};
use crate::hub::Hub;
use crate::process::{Supervisor, keep_out_of_core_dumps};
use crate::store::organisation::Organisation;
use crate::tls::Tls;
use crate::{api, demo, publish};

/// Tongqu: a data-sharing exchange hub whose answers leave evidence.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a hub filled with synthetic data, walk through its story, keep serving.
    Demo(demo::Options),
    /// Start a hub.
    Serve {
        #[arg(long, default_value = "tongqu.toml")]
        config: PathBuf,
    },
    /// Refuse a doubtful configuration; exit 0 when it is sound.
    Check {
        #[arg(long, default_value = "tongqu.toml")]
        config: PathBuf,
    },
    /// Make a signing key for a system and print the public part to register.
    Key {
        /// File to create (mode 0600).
        file: PathBuf,
    },
    /// Mint a system's own short assertion with its registered key.
    Token {
        #[arg(long)]
        key: PathBuf,
        /// Id of the system, as registered.
        #[arg(long)]
        system: String,
        /// Id of the hub.
        #[arg(long)]
        audience: String,
        /// At most 300.
        #[arg(long, default_value_t = 300)]
        life_s: i64,
    },
    /// Checks of the record, offline or over the network.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Offline checks of a receipt.
    #[command(subcommand)]
    Receipt(ReceiptCommand),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check every entry, tile and checkpoint of a record directory, or of a hub; exit 1 when anything is wrong.
    Verify {
        /// Directory, or a hub's address: https, or http to loopback.
        record: String,
        /// The log's public key (verifier key of C2SP signed-note).
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        hub: remote::HubOptions,
    },
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Check a receipt's proof and signature, and the answer it stands for; exit 1 when anything is wrong.
    Verify {
        file: PathBuf,
        #[arg(long)]
        key: PathBuf,
        /// The answer's bytes exactly as received.
        #[arg(long)]
        answer: Option<PathBuf>,
    },
}

impl Cli {
    /// Runs one command; the error is what the user reads.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Demo(options) => demo::run(options).await,
            Command::Serve { config } => serve(&config).await,
            Command::Check { config } => check(&config),
            Command::Key { file } => {
                println!("{}", SigningKey::create(&file)?.jwk());
                Ok(())
            }
            Command::Token { key, system, audience, life_s } => {
                anyhow::ensure!((1..=300).contains(&life_s), "`--life-s` is 1 to 300");
                let now_s = Clock::system().now_us() / SECOND_US;
                println!("{}", SigningKey::read(&key)?.token(&system, &system, &audience, now_s, life_s)?);
                Ok(())
            }
            Command::Audit(AuditCommand::Verify { record, key, hub }) => {
                let key = read_key(&key)?;
                if record.starts_with("http://") || record.starts_with("https://") {
                    return remote::verify(&record, key, hub).await;
                }
                anyhow::ensure!(hub.is_empty(), "{}", remote::ONLY_FOR_A_HUB);
                audit_verify(Path::new(&record), &key)
            }
            Command::Receipt(ReceiptCommand::Verify { file, key, answer }) => {
                receipt_verify(&file, &key, answer.as_deref())
            }
        }
    }
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    let mut doubts = config.doubts();
    if let Some(files) = &config.hub.tls {
        doubts.extend(Tls::open(files, Clock::system().now_us()).err().map(|cause| cause.to_string()));
    }
    doubts.extend(doubts_of_files(&config));
    anyhow::ensure!(doubts.is_empty(), "`{}` is refused:\n- {}", path.display(), doubts.join("\n- "));
    println!("`{}` is sound", path.display());
    Ok(())
}

/// What a start would refuse in the files that the configuration names.
fn doubts_of_files(config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Err(cause) = Issuers::new(&config.authn, &Clock::system()) {
        doubts.push(cause.to_string());
    }
    if let Some(path) = &config.hub.organisation {
        match read_organisation(path) {
            Ok(organisation) => doubts.extend(told(path, &organisation.faults())),
            Err(cause) => doubts.push(format!("{cause:#}")),
        }
    }
    for path in &config.hub.libraries {
        match std::fs::read_to_string(path).map(|text| catalog::load_library(&text)) {
            Ok(Ok(_resources)) => {}
            Ok(Err(faults)) => doubts.extend(told(path, &faults)),
            Err(cause) => doubts.push(format!("`{}`: {cause}", path.display())),
        }
    }
    doubts
}

fn told(path: &Path, faults: &catalog::Faults) -> Vec<String> {
    let line =
        |fault: &catalog::Fault| format!("`{}` at `{}`: {}", path.display(), fault.pointer, fault.message);
    faults.0.iter().map(line).collect()
}

fn read_organisation(path: &Path) -> anyhow::Result<Organisation> {
    let text = std::fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
    toml::from_str(&text).with_context(|| format!("`{}`", path.display()))
}

async fn serve(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    no_core_dumps(&config)?;
    let supervisor = match supervisor() {
        Some((socket, watchdog_us)) => Some(Supervisor::new(&socket, watchdog_us)?),
        None => None,
    };
    // Asks for a new certificate; it must not end a hub that has none.
    let _hangup = signal(SignalKind::hangup())?;
    let hub = Hub::open(config, Clock::system()).await?;
    declare(&hub).await?;
    let listener = tokio::net::TcpListener::bind(hub.config.hub.listen).await?;
    // Told to stop from here on, it stops in order.
    let stop = stop_signal();
    tracing::info!(address = %listener.local_addr()?, tls = hub.tls.is_some(), "serving");
    serve_until(hub, listener, stopped(supervisor, stop)).await
}

/// Before keys and rows are in memory.
pub fn no_core_dumps(config: &Config) -> anyhow::Result<()> {
    if !config.hub.core_dumps {
        keep_out_of_core_dumps()
            .context("core dumps cannot be switched off; set `hub.core_dumps` to live with them")?;
    }
    Ok(())
}

/// Tells the supervisor, from the moment the hub serves until it is told to stop.
async fn stopped(supervisor: Option<Supervisor>, stop: impl Future<Output = ()>) {
    let Some(supervisor) = supervisor else { return stop.await };
    supervisor.say("READY=1");
    let alive = async {
        let Some(pace) = supervisor.pace else { return std::future::pending().await };
        let mut tick = tokio::time::interval(pace);
        loop {
            tick.tick().await;
            supervisor.say("WATCHDOG=1");
        }
    };
    tokio::select! {
        () = stop => {}
        () = alive => {}
    }
    supervisor.say("STOPPING=1");
}

/// Brings the declared organisation and libraries into the store, on record.
pub async fn declare(hub: &Hub) -> anyhow::Result<()> {
    if let Some(path) = &hub.config.hub.organisation {
        publish::declare(hub, read_organisation(path)?).await.map_err(said)?;
    }
    for path in &hub.config.hub.libraries {
        let text = std::fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
        let resources = catalog::load_library(&text)
            .map_err(|faults| anyhow::anyhow!("`{}` has faults: {faults:#?}", path.display()))?;
        publish::load(hub, resources).await.map_err(said)?;
    }
    Ok(())
}

/// An outcome with its faults, for people at a terminal.
pub fn said(error: crate::error::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "{}",
        serde_json::to_string_pretty(&error.problem()).unwrap_or_else(|_| error.to_string())
    )
}

/// Serves until told to stop, then drains and closes.
pub async fn serve_until(
    hub: Arc<Hub>,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let server = tokio::spawn(api::server::serve(hub.clone(), listener));
    let keeper = tokio::spawn({
        let hub = hub.clone();
        async move { tokio::join!(hub.keep(), hub.keep_certificate()) }
    });
    stop.await;
    hub.closing.cancel();
    server.await??;
    keeper.await?;
    hub.close(Duration::from_secs(10)).await;
    Ok(())
}

/// Interrupt or termination, caught from this call on, whenever it is waited for.
pub fn stop_signal() -> impl Future<Output = ()> {
    let caught = signal(SignalKind::terminate()).and_then(|end| Ok((end, signal(SignalKind::interrupt())?)));
    async move {
        match caught {
            Ok((mut terminate, mut interrupt)) => tokio::select! {
                _interrupted = interrupt.recv() => {}
                _terminated = terminate.recv() => {}
            },
            Err(cause) => tracing::error!(%cause, "a signal to stop cannot be waited for"),
        }
    }
}

fn audit_verify(directory: &Path, key: &str) -> anyhow::Result<()> {
    let report = verify_directory(directory, key)
        .map_err(|fault| anyhow::anyhow!("the record does NOT verify: {fault}"))?;
    println!("{report}");
    Ok(())
}

fn receipt_verify(file: &Path, key: &Path, answer: Option<&Path>) -> anyhow::Result<()> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()));
    let receipt = read(file)?;
    let answer = answer.map(read).transpose()?;
    let report = verify_receipt(&receipt, &read_key(key)?, answer.as_deref())
        .map_err(|fault| anyhow::anyhow!("the receipt does NOT verify: {fault}"))?;
    println!("{report}");
    Ok(())
}

fn read_key(path: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("key `{}` cannot be read", path.display()))?;
    Ok(text.trim().to_owned())
}
