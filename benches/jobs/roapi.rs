//! ROAPI on the same Parquet file, its REST door.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::client::Connection;
use crate::hub::ITEMS;
use crate::people::People;
use crate::postgres::free_port;

pub struct Roapi {
    child: Child,
    pub address: SocketAddr,
}

impl Roapi {
    pub fn start(binary: &Path, file: &Path) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let child = Command::new(binary)
            .args(["-a", &address.to_string(), "-t", &format!("resident={}", file.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let roapi = Self { child, address };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ready = async { tokio::time::timeout(Duration::from_secs(120), roapi.ready()).await };
        runtime.block_on(ready).context("ROAPI did not answer in 120 s")?;
        Ok(roapi)
    }

    /// Asks until a look-up is answered.
    pub async fn first_answer(&self, id_number: &str) -> anyhow::Result<()> {
        let call = self.lookup(id_number);
        let asked = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            loop {
                if let Ok(mut connection) = Connection::open(self.address).await
                    && let Ok((200, _)) = connection.call(&call).await
                {
                    break;
                }
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), asked).await.context("ROAPI did not answer in 120 s")
    }

    async fn ready(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            if Connection::open(self.address).await.is_ok() {
                break;
            }
        }
    }

    pub fn lookup(&self, id_number: &str) -> Vec<u8> {
        let path = format!(
            "/api/tables/resident?columns={}&filter%5Bid_number%5D=%27{id_number}%27",
            ITEMS.join(",")
        );
        crate::client::get(&path)
    }

    pub fn lookups(&self, people: &People, round: usize) -> Vec<Vec<u8>> {
        people.sample(10_000, round).map(|id| self.lookup(id)).collect()
    }
}

impl Drop for Roapi {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _code = self.child.wait();
    }
}
