//! A closed loop over keep-alive connections: as little work per call as HTTP/1.1 allows, so that the server is measured.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Calls a second (or another number, as its name says), with latencies in milliseconds where they were taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    pub value: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.value)?;
        match (self.p50_ms, self.p99_ms) {
            (Some(p50), Some(p99)) => write!(f, " (p50 {p50:.2} ms, p99 {p99:.2} ms)"),
            (Some(p50), None) => write!(f, " (mean {p50:.2} ms)"),
            _ => Ok(()),
        }
    }
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: hub\r\n\r\n").into_bytes()
}

/// One connection and what it read ahead.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends one call and gives status and body.
    pub async fn call(&mut self, call: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(call).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).context("no status")?.parse()?;
        let length = text.split("content-length:").nth(1).context("no content-length")?;
        let length: usize = length.split("\r\n").next().unwrap_or_default().trim().parse()?;
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(
            read > 0,
            "the server closed the connection: {}",
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }
}

/// Every connection sends its next call when it has the answer of the last; an answer other than 200 is an error.
pub async fn closed_loop(
    address: SocketAddr,
    calls: &[Vec<u8>],
    connections: usize,
    length: Duration,
) -> anyhow::Result<Rate> {
    let start = Instant::now();
    let one = |number: usize| async move {
        let mut connection = Connection::open(address).await?;
        let mut latencies = Vec::new();
        let mut next = number * calls.len() / connections;
        while start.elapsed() < length {
            let sent = Instant::now();
            let (status, body) = connection.call(&calls[next % calls.len()]).await?;
            anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
            latencies.push(sent.elapsed());
            next += 1;
        }
        Ok(latencies)
    };
    let latencies = futures::future::try_join_all((0..connections).map(one)).await?.concat();
    Ok(rate(latencies, start.elapsed()))
}

/// Rate and percentiles of calls that ended.
pub fn rate(mut latencies: Vec<Duration>, elapsed: Duration) -> Rate {
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (latencies.len() as f64 * part) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map(|latency| latency.as_secs_f64() * 1e3)
    };
    Rate { value: latencies.len() as f64 / elapsed.as_secs_f64(), p50_ms: at(0.5), p99_ms: at(0.99) }
}
