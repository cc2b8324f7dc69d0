//! The demonstration: a hub filled with synthetic people, enterprises and credit records, and its story.
//!
//! Everything it does goes through the hub's own doors: sources are files and a department's database, grants are
//! applied for and signed over HTTP, the story is plain HTTP calls that anyone can repeat.

mod fill;
mod register;
mod story;
pub mod synthetic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::clock::Clock;
use crate::config::Config;
use crate::hub::Hub;
use crate::{cli, publish};

/// Options of `tongqu demo`.
#[derive(Debug, Args)]
pub struct Options {
    /// Data directory; made on the first start, reused later.
    #[arg(long, default_value = "tongqu-demo")]
    dir: PathBuf,
    /// Address to listen on; loopback only.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Residents to make on the first start.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    residents: u64,
    /// A real register (Parquet or CSV) in place of the synthetic legal-entity library.
    #[arg(long)]
    legal_entities: Option<PathBuf>,
    /// Column of the register for an item, `item=column`; may be repeated. Known names are found by themselves.
    #[arg(long = "column", value_name = "ITEM=COLUMN")]
    columns: Vec<String>,
    /// Stop after the story: exit 0 when every step was as it should be.
    #[arg(long)]
    once: bool,
}

/// Makes or reuses the directory, starts the hub, tells the story, keeps serving.
pub async fn run(options: Options) -> anyhow::Result<()> {
    anyhow::ensure!(
        options.listen.ip().is_loopback(),
        "the demo listens on loopback only; use `tongqu serve`"
    );
    std::fs::create_dir_all(&options.dir)?;
    let _lock = lock(&options.dir)?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("`{}` cannot be listened on; choose another `--listen`", options.listen))?;
    let address = listener.local_addr()?;
    fill::fill(&options).await?;
    let mut config = Config::read(&options.dir.join("tongqu.toml"))?;
    config.hub.listen = address;
    cli::no_core_dumps(&config)?;
    let hub = Hub::open(config, Clock::system()).await?;
    cli::declare(&hub).await?;
    let wanted = register::resources(&options)?;
    publish::load(&hub, wanted.clone()).await.map_err(cli::said)?;
    if options.legal_entities.is_some() {
        same_register(&hub, &wanted).await?;
    }
    let base_url = format!("http://{address}");
    let tokens = fill::mint(&options.dir, &hub)?;
    fill::write_credentials(&options.dir, &base_url, &tokens)?;
    let verifier_key = options.dir.join("audit.pub");
    std::fs::write(&verifier_key, format!("{}\n", hub.keys.verifier_key()))?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(cli::serve_until(hub.clone(), listener, async move {
        tokio::select! {
            _told = stopped => {}
            () = cli::stop_signal() => {}
        }
    }));
    let told = story::tell(&options.dir, &base_url, &tokens, &verifier_key, &hub.log).await;
    if options.once || told.is_err() {
        let _gone = stop.send(());
        server.await??;
        told?;
        println!("\nThe story went as it should.");
        return Ok(());
    }
    println!(
        "\nServing on {base_url} until interrupted. Tokens are in {}.",
        options.dir.join("credentials.json").display()
    );
    let kept = stop;
    server.await??;
    drop(kept);
    Ok(())
}

/// A register given now must be the one the directory was made with.
async fn same_register(hub: &Hub, wanted: &[catalog::Resource]) -> anyhow::Result<()> {
    for resource in wanted {
        let mounted = hub.store.resource(&resource.name).await?;
        anyhow::ensure!(
            mounted.is_some_and(|mounted| mounted.resource.binding == resource.binding),
            "`{}` was mounted otherwise when this directory was made; choose another `--dir`",
            resource.name
        );
    }
    Ok(())
}

/// One demo at a time in a directory.
fn lock(directory: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::File::create(directory.join("demo.lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_held| {
        anyhow::anyhow!("another demo runs in `{}`; stop it or choose another `--dir`", directory.display())
    })?;
    Ok(file)
}
