//! The hub under attack in its own process: what is sent to it, what it takes of the machine, and a neighbour who asks.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::cases::{Case, File, Way};
use crate::faults::process::{self, Running};
use crate::support::{PURPOSE, terms};

const ATTACKER: &str = "civil-affairs.operator";
const NEIGHBOUR: &str = "human-resources.operator";
/// Rows of `big.rows`: a product of two has ten thousand million.
const ROWS: i64 = 100_000;
/// How far from its size before the hub may be afterwards; the allocator keeps some.
const GROWN_MIB_MAX: u64 = 192;

#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub rss_mib: u64,
    pub handles: usize,
    pub threads: u64,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Served {
    pub answered: usize,
    pub failed: usize,
}

pub struct Target {
    hub: Running,
    directory: TempDir,
    http: reqwest::Client,
    deadline: Duration,
    idle: Duration,
}

pub struct Neighbour {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Served>,
}

impl Neighbour {
    pub async fn stop(self) -> Served {
        self.stop.cancel();
        self.task.await.expect("the neighbour ends")
    }
}

impl Target {
    pub async fn start(deadline: Duration) -> Self {
        let directory = process::prepared();
        let config = directory.path().join("tongqu.toml");
        let idle = Duration::from_secs(2);
        let text = std::fs::read_to_string(&config).expect("a configuration").replacen(
            "held_bytes_max = 4096",
            &format!(
                "deadline_ms = {}\nidle_timeout_ms = {}\nmemory_bytes = 268435456\nspill_bytes = 268435456",
                deadline.as_millis(),
                idle.as_millis()
            ),
            1,
        );
        std::fs::write(&config, format!("[limits]\nbody_timeout_ms = 1000\n\n{text}")).expect("written");
        let hub = Running::serve(directory.path()).expect("it starts");
        let target = Self { hub, directory, http: reqwest::Client::new(), deadline, idle };
        target.fill().await;
        target
    }

    async fn fill(&self) {
        let numbers = |value: fn(i64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..ROWS).map(value)))
        };
        let text: StringArray = (0..ROWS).map(|row| Some(format!("{row:0>40}"))).collect();
        let columns = [
            ("id", numbers(|row| row)),
            ("x", numbers(|row| row % 97)),
            ("k", numbers(|_| 1)),
            ("c", Arc::new(text) as ArrayRef),
        ];
        let rows = written(&RecordBatch::try_from_iter(columns).expect("a batch"));
        let items = [("id", "integer"), ("x", "integer"), ("k", "integer"), ("c", "text")];
        self.publish("big.rows", "rows.parquet", &rows, &items).await.expect("published");
        self.publish("big.small", "small.csv", b"id,c\n1,one\n2,two\n", &[("id", "integer"), ("c", "text")])
            .await
            .expect("published");
        self.grant("big.rows", "civil-affairs", &items).await;
        for grantee in ["human-resources", "civil-affairs"] {
            self.grant("big.small", grantee, &[("id", "integer"), ("c", "text")]).await;
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        let folder = self.directory.path().join("sources/public-security");
        std::fs::create_dir_all(&folder).expect("a folder");
        folder.join(name)
    }

    /// The problem code when it is refused.
    async fn publish(
        &self,
        name: &str,
        file: &str,
        bytes: &[u8],
        items: &[(&str, &str)],
    ) -> Result<(), String> {
        std::fs::write(self.file(file), bytes).expect("written");
        let items: Vec<Value> = items
            .iter()
            .map(|(item, kind)| {
                json!({"name": item, "title": item, "type": kind, "key": *item == "id", "classification": "general"})
            })
            .collect();
        let format = if file.ends_with("parquet") { "parquet" } else { "csv" };
        let entry = json!({
            "name": name, "title": name, "abstract": "made for a test", "provider": "public-security",
            "class": "conditional", "condition": "for tests", "update_cycle": "daily", "items": items,
            "binding": {"files": {"format": format, "path": format!("public-security/{file}")}},
        });
        let (status, said) = self.post("public-security.head", "/v1/resources", &entry).await;
        // The long form comes again: the version that is there stays.
        if status == 201 || status == 428 { Ok(()) } else { Err(code(&said)) }
    }

    async fn grant(&self, name: &str, grantee: &str, items: &[(&str, &str)]) {
        let output: Vec<Value> = items.iter().map(|(item, _)| json!({"item": item})).collect();
        let mut terms = terms(&["query", "lookup"], &["id"], json!(output), None);
        terms["systems"] = json!([]);
        let body = json!({"resource": name, "terms": terms});
        let (status, said) = self.post(&format!("{grantee}.sharing-head"), "/v1/applications", &body).await;
        assert_eq!(status, 201, "{said}");
        let body = json!({"application": said["id"]});
        let (status, said) = self.post("public-security.sharing-head", "/v1/grants", &body).await;
        assert_eq!(status, 201, "{said}");
    }

    fn call(&self, account: &str, path: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.hub.base_url))
            .bearer_auth(process::token(self.directory.path(), account))
            .header("content-type", "application/json")
    }

    async fn post(&self, account: &str, path: &str, body: &Value) -> (u16, Value) {
        let said = self.call(account, path).body(body.to_string()).send().await.expect("the hub answers");
        (said.status().as_u16(), said.json().await.unwrap_or(Value::Null))
    }

    fn asked(sql: &str) -> String {
        json!({"sql": sql, "purpose": PURPOSE, "case": "case-1", "operator": ATTACKER}).to_string()
    }

    /// Walks a case's way; what was said, of several calls each once.
    pub async fn run(&self, case: &Case) -> String {
        match &case.way {
            Way::Statement(sql) => self.statement(sql).await,
            Way::Unread(sql) => self.unread(sql).await,
            Way::Gone(sql) => {
                let call = self.call(ATTACKER, "/v1/queries").body(Self::asked(sql)).send();
                let _gone = tokio::time::timeout(Duration::from_millis(100), call).await;
                "cut".to_owned()
            }
            Way::Crowd(count, sql) => {
                let said = futures::future::join_all((0..*count).map(|_| self.statement(sql))).await;
                let different: std::collections::BTreeSet<String> = said.into_iter().collect();
                different.into_iter().collect::<Vec<_>>().join("+")
            }
            Way::Body(bytes) => {
                Self::told(self.call(ATTACKER, "/v1/queries").body("x".repeat(*bytes)).send().await).await
            }
            Way::Drip => self.drip().await,
            Way::Compressed => {
                let call = self.call(ATTACKER, "/v1/queries").header("content-encoding", "gzip");
                Self::told(call.body(vec![0x1f, 0x8b, 8, 0]).send().await).await
            }
            Way::Publish(name, file) => self.abused(name, *file).await,
        }
    }

    async fn statement(&self, sql: &str) -> String {
        Self::told(self.call(ATTACKER, "/v1/queries").body(Self::asked(sql)).send().await).await
    }

    /// The code of an answer read to its end; `cut` when it has no clean one.
    async fn told(said: reqwest::Result<reqwest::Response>) -> String {
        let Ok(mut said) = said else { return "cut".to_owned() };
        let status = said.status().as_u16();
        let mut text = Vec::new();
        loop {
            match said.chunk().await {
                Ok(Some(chunk)) if text.len() < 1 << 20 => text.extend_from_slice(&chunk),
                Ok(Some(_more)) => {}
                Ok(None) if status < 300 => return "ok".to_owned(),
                Ok(None) => return code(&serde_json::from_slice(&text).unwrap_or(Value::Null)),
                Err(_cut) => return "cut".to_owned(),
            }
        }
    }

    /// Reads the head of an answer and then nothing, until the hub must have given up.
    async fn unread(&self, sql: &str) -> String {
        let mut stream = self.connect().await;
        let body = Self::asked(sql);
        let head = self.head(body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("a status line");
        let wait = self.idle.max(self.deadline) + Duration::from_secs(1);
        let mut waited = tokio::time::interval_at(tokio::time::Instant::now() + wait, wait);
        waited.tick().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        let clean = read.is_ok() && rest.ends_with(b"\r\n0\r\n\r\n");
        if clean { "ok".to_owned() } else { "cut".to_owned() }
    }

    /// A byte now and then, never the last one.
    async fn drip(&self) -> String {
        let mut stream = self.connect().await;
        stream.write_all(self.head(1_000).as_bytes()).await.expect("sent");
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let mut answer = [0; 12];
        let dripping = async {
            loop {
                tokio::select! {
                    read = stream.read_exact(&mut answer) => break read.is_ok(),
                    _now = tick.tick() => {}
                }
                if stream.write_all(b" ").await.is_err() {
                    break false;
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), dripping).await {
            Ok(true) if answer.ends_with(b"504") => "deadline".to_owned(),
            Ok(_cut) => "cut".to_owned(),
            Err(_late) => "waits for ever".to_owned(),
        }
    }

    async fn connect(&self) -> TcpStream {
        let address = self.hub.base_url.trim_start_matches("http://");
        TcpStream::connect(address).await.expect("a connection")
    }

    fn head(&self, bytes: usize) -> String {
        format!(
            "POST /v1/queries HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {bytes}\r\n\r\n",
            process::token(self.directory.path(), ATTACKER)
        )
    }

    /// Publishes a source that is not what it seems, and where that passes, asks for it.
    async fn abused(&self, name: &str, file: File) -> String {
        let (bytes, ending) = made(file);
        let (resource, items) = (format!("abuse.{name}"), [("id", "text"), ("c", "text")]);
        if let Err(code) = self.publish(&resource, &format!("{name}.{ending}"), &bytes, &items).await {
            return code;
        }
        self.grant(&resource, "civil-affairs", &items).await;
        let said = self.statement(&format!("SELECT max(length(c)) AS n FROM {resource}")).await;
        // The next round publishes it anew.
        std::fs::remove_file(self.file(&format!("{name}.{ending}"))).expect("removed");
        if said == "which_grant" { "ok".to_owned() } else { said }
    }

    pub fn neighbour(&self) -> Neighbour {
        let stop = CancellationToken::new();
        let body = json!({
            "resource": "big.small", "keys": [{"id": 1}], "purpose": PURPOSE, "case": "case-2", "operator": NEIGHBOUR,
        });
        let call = self.call(NEIGHBOUR, "/v1/lookups").body(body.to_string());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut served = Served::default();
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while !stopped.is_cancelled() {
                tick.tick().await;
                let said = call.try_clone().expect("a body that can be sent again").send().await;
                match said {
                    Ok(said) if said.status().as_u16() == 200 => served.answered += 1,
                    other => {
                        eprintln!("the neighbour was told {other:?}");
                        served.failed += 1;
                    }
                }
            }
            served
        });
        Neighbour { stop, task }
    }

    fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.hub.id())).expect("it lives");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').split_whitespace().next().expect("a number").parse().expect("a number")
    }

    pub fn taken(&self) -> Taken {
        let handles = std::fs::read_dir(format!("/proc/{}/fd", self.hub.id())).expect("it lives").count();
        Taken { rss_mib: self.status("VmRSS") / 1024, handles, threads: self.status("Threads") }
    }

    pub fn peak_mib(&self) -> u64 {
        self.status("VmHWM") / 1024
    }

    /// From here on the peak is of what comes.
    pub fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.hub.id());
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"5"))
            .expect("forgotten");
    }

    /// Waits until nothing runs and a small question is answered: no engine memory, no spill file, and with a base, its
    /// size of before.
    pub async fn rest(&self, base: Option<Taken>) -> Result<(), String> {
        let at_rest = async || {
            let metrics = self.metrics().await;
            let spill = files_below(&self.directory.path().join("spill"));
            let taken = self.taken();
            let small = base.is_none_or(|base| {
                taken.rss_mib <= base.rss_mib + GROWN_MIB_MAX
                    && taken.handles <= base.handles + 16
                    && taken.threads <= base.threads + 8
            });
            let calm = metrics.contains("tongqu_engine_memory_bytes 0\n") && spill == 0 && small;
            // Threads that still work for somebody who is gone would keep a small question waiting.
            let calm = calm && self.statement("SELECT count(*) AS n FROM big.small").await == "ok";
            calm.then_some(()).ok_or(format!("not at rest: {taken:?} (before {base:?}), {spill} spill files"))
        };
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            match at_rest().await {
                Ok(()) => return Ok(()),
                Err(fault) if tokio::time::Instant::now() > until => return Err(fault),
                Err(_not_yet) => tick.tick().await,
            };
        }
    }

    async fn metrics(&self) -> String {
        let said = self.http.get(format!("{}/metrics", self.hub.base_url)).send().await.expect("it answers");
        said.text().await.expect("text")
    }

    /// Statements that took longer than they may by the hub's own clock; in the short form only what is far too late.
    pub async fn late(&self, most: Duration) -> Option<String> {
        let most_s = if super::rounds() > 1 { most.as_secs_f64() } else { 10.0 };
        let metrics = self.metrics().await;
        let count = |sign: &str| -> Option<u64> {
            let line = metrics.lines().find(|line| line.contains(sign) && line.contains("/v1/queries"))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let within = count(&format!("le=\"{most_s}\"")).expect("a bucket");
        let all = count("tongqu_call_seconds_count").expect("a count");
        eprintln!("statements: {within} of {all} within {most_s} s");
        (within < all).then(|| format!("{} statements took longer than {most_s} s", all - within))
    }

    pub fn said(&self) -> String {
        self.hub.said()
    }

    pub fn stop(self) {
        self.hub.stop();
    }
}

fn code(said: &Value) -> String {
    said["code"].as_str().unwrap_or("?").to_owned()
}

fn files_below(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The bytes of a bad source, and what the file's name ends with.
fn made(file: File) -> (Vec<u8>, &'static str) {
    match file {
        File::Line(bytes) => {
            let mut text = b"id,c\n1,".to_vec();
            text.resize(text.len() + bytes, b'x');
            (text, "csv")
        }
        File::Columns(count) => {
            let header: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
            (format!("id,c,{}\n", header.join(",")).into_bytes(), "csv")
        }
        File::Bomb => (bomb(8_192, 32 << 10), "parquet"),
        File::Footer => {
            let mut bytes = bomb(10, 100);
            let cut = bytes.len() - 40;
            bytes.drain(cut..cut + 20);
            (bytes, "parquet")
        }
    }
}

/// One value said many times by number: 32 KiB and 8,192 times are a small file and 256 MiB of text in one batch.
fn bomb(rows: usize, bytes: usize) -> Vec<u8> {
    let values = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
    let keys = Int32Array::from(vec![0; rows]);
    let text = DictionaryArray::<Int32Type>::try_new(keys, values).expect("an array");
    let ids: StringArray = (0..rows).map(|row| Some(row.to_string())).collect();
    let batch =
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("c", Arc::new(text) as ArrayRef)])
            .expect("a batch");
    written(&batch)
}

fn written(batch: &RecordBatch) -> Vec<u8> {
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
    bytes
}
