//! HTTP/1.1 over keep-alive connections with as little work per call as possible, so that the server is measured:
//! a closed loop for throughput, an open loop for latency.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
        write!(f, "{:.1}", self.value)?;
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

/// What came back.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    /// In lower case.
    pub head: String,
    /// As it came, chunk sizes and all, when it came in chunks.
    pub body: Vec<u8>,
}

impl Said {
    pub fn header(&self, name: &str) -> Option<&str> {
        let rest = self.head.split(&format!("\r\n{name}:")).nth(1)?;
        rest.split("\r\n").next().map(str::trim)
    }
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
        Ok(Self { stream, buffer: Vec::with_capacity(4 << 10) })
    }

    /// Sends one call and gives status and body.
    pub async fn call(&mut self, call: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let said = self.ask(call).await?;
        Ok((said.status, said.body))
    }

    /// Sends one call and reads its answer to the end.
    pub async fn ask(&mut self, call: &[u8]) -> anyhow::Result<Said> {
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
        let end = match text.split("content-length:").nth(1) {
            Some(length) => {
                let length: usize = length.split("\r\n").next().unwrap_or_default().trim().parse()?;
                while self.buffer.len() < head + length {
                    self.more().await?;
                }
                head + length
            }
            None => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.more().await?;
                }
                self.buffer.len()
            }
        };
        Ok(Said { status, head: text, body: self.buffer[head..end].to_vec() })
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

/// One call of an open loop: when its answer was there after the start of the loop, how long after its appointed
/// time, and what was said.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which call of the loop.
    pub number: u64,
    pub ended: Duration,
    pub took: Duration,
    pub status: u16,
    pub retry_after: bool,
    pub receipt: Option<String>,
}

impl Outcome {
    /// None was said when the connection broke: told apart from everything a hub says.
    fn of(number: u64, ended: Duration, took: Duration, said: Option<&Said>) -> Self {
        Self {
            number,
            ended,
            took,
            status: said.map_or(0, |said| said.status),
            retry_after: said.is_some_and(|said| said.header("retry-after").is_some()),
            receipt: said.and_then(|said| said.header("tongqu-receipt")).map(str::to_owned),
        }
    }
}

/// A closed loop of different calls, whatever is said to them.
pub async fn closed_loop_of(
    address: SocketAddr,
    connections: usize,
    length: Duration,
    call: impl Fn(u64) -> Vec<u8>,
) -> anyhow::Result<Vec<Outcome>> {
    let (start, turn, call) = (Instant::now(), AtomicU64::new(0), &call);
    let turn = &turn;
    let one = || async move {
        let mut connection = Connection::open(address).await?;
        let mut outcomes = Vec::new();
        while start.elapsed() < length {
            let (number, sent) = (turn.fetch_add(1, Ordering::Relaxed), Instant::now());
            let said = connection.ask(&call(number)).await?;
            outcomes.push(Outcome::of(number, start.elapsed(), sent.elapsed(), Some(&said)));
        }
        Ok::<_, anyhow::Error>(outcomes)
    };
    Ok(futures::future::try_join_all((0..connections).map(|_| one())).await?.concat())
}

/// Sends calls at their appointed times whatever becomes of the earlier ones, over so many connections at most; the
/// time of an answer counts from the appointment, so a server that falls behind cannot hide it (no coordinated
/// omission). `after` makes of an answer the call that belongs to it, on the same connection: it counts too.
pub async fn open_loop(
    address: SocketAddr,
    per_second: f64,
    length: Duration,
    connections: usize,
    call: impl Fn(u64) -> Vec<u8>,
    after: impl Fn(&Said) -> Option<Vec<u8>>,
) -> anyhow::Result<Vec<Outcome>> {
    let (start, turn) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let (call, after) = (&call, &after);
    let one = || {
        let turn = turn.clone();
        async move {
            let mut connection = None;
            let mut outcomes = Vec::new();
            loop {
                let number = turn.fetch_add(1, Ordering::Relaxed);
                let appointed = Duration::from_secs_f64(number as f64 / per_second);
                if appointed >= length {
                    return Ok::<_, anyhow::Error>(outcomes);
                }
                tokio::time::sleep_until((start + appointed).into()).await;
                let mut live = match connection.take() {
                    Some(live) => live,
                    None => Connection::open(address).await?,
                };
                let mut said = live.ask(&call(number)).await;
                if let Ok(first) = &said
                    && let Some(next) = after(first)
                {
                    said = live.ask(&next).await;
                }
                let ended = start.elapsed();
                let took = ended.saturating_sub(appointed);
                outcomes.push(Outcome::of(number, ended, took, said.as_ref().ok()));
                connection = said.is_ok().then_some(live);
            }
        }
    };
    Ok(futures::future::try_join_all((0..connections).map(|_| one())).await?.concat())
}

/// A percentile in milliseconds; not a number when there is nothing.
pub fn percentile_ms(mut latencies: Vec<Duration>, part: f64) -> f64 {
    latencies.sort_unstable();
    let index = (latencies.len() as f64 * part) as usize;
    let found = latencies.get(index.min(latencies.len().saturating_sub(1)));
    found.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// Rate and percentiles of calls that ended.
pub fn rate(latencies: Vec<Duration>, elapsed: Duration) -> Rate {
    let value = latencies.len() as f64 / elapsed.as_secs_f64();
    let p50 = percentile_ms(latencies.clone(), 0.5);
    Rate { value, p50_ms: Some(p50), p99_ms: Some(percentile_ms(latencies, 0.99)) }
}
