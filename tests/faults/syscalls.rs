//! A fault at every system call of the append, publish, change and start paths, put there by `strace`.
//!
//! A first traced run enumerates the calls: those of the record's writer (append, publish, new segment, close), those on
//! the store's files, and those of a start that recovers a record with a torn publication and a change not on record.
//! Then each of them fails once with EIO, once with ENOSPC, and kills the hub once, each time under the same small load:
//! while the hub lives it works again without a restart, and after a start without faults the ledger, both verifiers
//! and the judge of store and record agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tongqu::audit::verify::verify_directory;

use super::belief::Belief;
use super::independent::{check_receipt, check_record};
use super::judge;
use super::ledger::{Client, OPERATOR, held, refused, streamed};
use super::process::{Running, Tracer, configure, copy_tree, folder, prepared, verifier_key};

/// What a file may be made, written, renamed, removed and made durable with; `?` where not every machine has the call.
const CALLS: &str = "openat,write,pwrite64,fdatasync,fsync,?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir,\
                     ftruncate,fallocate,?mkdir,?mkdirat,close";

/// Points of the short form, spread over all of them.
const SHORT: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The record's writer thread, from the first call to the stop.
    Writer,
    /// The store's files, from the start to the stop, in whatever thread.
    Store,
    /// The thread that starts, and recovers what a crash left.
    Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Eio,
    NoSpace,
    Kill,
}

/// The `n`-th call of a name in its thread.
#[derive(Debug, Clone)]
struct Point {
    place: Place,
    call: String,
    n: usize,
    harm: Harm,
}

impl Point {
    fn injection(&self) -> String {
        let harm = match self.harm {
            Harm::Eio => "error=EIO",
            Harm::NoSpace => "error=ENOSPC",
            Harm::Kill => "signal=KILL",
        };
        format!("inject={}:{harm}:when={}", self.call, self.n)
    }
}

/// Where every trial of a place begins: a directory, what a client has of it, and what it believes.
struct Base {
    directory: TempDir,
    client: Client,
    belief: Belief,
}

fn rhythm(directory: &Path, publish_every_ms: u64) {
    let path = directory.join("tongqu.toml");
    let written = std::fs::read_to_string(&path).expect("a configuration");
    let rest = written.split_once("[engine]").expect("a table").1;
    std::fs::write(&path, format!("[engine]{rest}")).expect("written");
    // Small segments, so that the load is written to several.
    let table = format!("[record]\npublish_every_ms = {publish_every_ms}\nsegment_bytes_max = 2500\n");
    configure(directory, &table);
}

impl Base {
    /// A directory that was stopped in order.
    async fn sound() -> Self {
        let directory = prepared();
        rhythm(directory.path(), 300);
        let hub = Running::serve(directory.path()).expect("it starts");
        let client = Client::new(directory.path(), &hub.base_url);
        let belief = Belief::asked(&client).await;
        hub.stop();
        Self { directory, client, belief }
    }

    /// A directory whose hub was killed with entries in its segment only, and a change in its store only.
    async fn crashed() -> Self {
        let Self { directory, client, mut belief } = Self::sound().await;
        rhythm(directory.path(), 600_000);
        let mut hub = Running::serve(directory.path()).expect("it starts");
        let client = client.moved(&hub.base_url);
        load(&client, &mut belief, 0).await;
        let trace = directory.path().join("trace");
        let point = Point { place: Place::Writer, call: "write".to_owned(), n: 1, harm: Harm::Kill };
        let tracer = Tracer::attach(hub.thread("record-writer"), &arguments(&trace, Some(&point)));
        assert!(!belief.change(&client).await, "the hub outlived its kill");
        hub.kill();
        tracer.wait();
        std::fs::remove_file(&trace).expect("a trace");
        rhythm(directory.path(), 300);
        Self { directory, client, belief }
    }
}

/// What `strace` is told, but for whom to trace.
fn arguments(trace: &Path, point: Option<&Point>) -> Vec<String> {
    let trace = trace.to_string_lossy().into_owned();
    let mut told: Vec<String> =
        ["-y", "-o", &trace, "-e", &format!("trace={CALLS}")].map(str::to_owned).to_vec();
    if let Some(point) = point {
        told.extend(["-e".to_owned(), point.injection()]);
    }
    told
}

/// A hub under a tracer, or what it said when it did not start.
fn traced(
    directory: &Path,
    trace: &Path,
    place: Place,
    point: Option<&Point>,
) -> Result<(Running, Option<Tracer>), String> {
    let mut told = arguments(trace, point);
    match place {
        Place::Writer => {
            let hub = Running::serve(directory)?;
            let tracer = Tracer::attach(hub.thread("record-writer"), &told);
            return Ok((hub, Some(tracer)));
        }
        // Without `-f` only the first thread is traced, which is the one that starts.
        Place::Start => {}
        Place::Store => {
            told.push("-f".to_owned());
            for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal"] {
                // Also as the hub names it: `hub.directory` is `.` in the demo's configuration.
                for between in ["", "./"] {
                    told.extend(["-P".to_owned(), format!("{}/{between}{name}", directory.display())]);
                }
            }
        }
    }
    Running::serve_traced(directory, &told).map(|hub| (hub, None))
}

/// Two answers, a stream, a refusal and two changes, publications between them; false when the hub went away.
async fn load(client: &Client, belief: &mut Belief, first: u64) -> bool {
    for number in first..first + 2 {
        for (body, expect) in [(held(number), 200), (streamed(number), 200), (refused(number), 403)] {
            let Some(answer) = client.ask(OPERATOR, "/v1/queries", &body).await else { return false };
            assert!(answer.status == expect || answer.status == 503, "{answer:?}");
        }
        // An act that is not answered well stays open, to be repeated with its key.
        if belief.open.is_none() && !belief.change(client).await && client.alive().await.is_none() {
            return false;
        }
    }
    true
}

/// Waits until the public checkpoint covers everything there was when it began; false when the hub went away.
pub async fn published(case: &str, client: &Client) -> bool {
    let Some(index) = client.newest_index().await else { return client.alive().await.is_some() };
    let mut size = None;
    let covered = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            size = client.published().await;
            if size.is_none_or(|size| size > index) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let covered = covered.await;
    covered
        .unwrap_or_else(|_late| panic!("{case}: {size:?} entries are published in time, not entry {index}"));
    size.is_some()
}

/// After a fault that the hub outlived: it answers again, and the open act can be repeated.
async fn works_again(case: &str, hub: &Running, client: &Client, belief: &mut Belief) -> Result<(), String> {
    let mut last = None;
    let again = tokio::time::timeout(Duration::from_secs(30), async {
        for number in 1000.. {
            let answer = client.ask(OPERATOR, "/v1/queries", &held(number)).await;
            if answer.as_ref().is_some_and(|answer| answer.status == 200) && client.ready().await {
                return;
            }
            last = answer;
        }
    });
    let again = again.await;
    again.map_err(|_late| format!("{case}: it does not work again, {last:?}: {}", hub.said()))?;
    belief.settle(case, client).await;
    Ok(())
}

/// One run with or without a fault; the trace.
async fn run(base: &Base, place: Place, point: Option<&Point>) -> String {
    let case = format!("{point:?}");
    let directory = folder();
    copy_tree(base.directory.path(), directory.path());
    let (trace, key) = (directory.path().join("trace"), verifier_key(directory.path()));
    let (mut client, mut belief) = (base.client.forked(), base.belief.clone());
    let kills = point.is_some_and(|point| point.harm == Harm::Kill);
    let mut again = Ok(());
    match traced(directory.path(), &trace, place, point) {
        Err(said) => assert!(point.is_some(), "{said}"),
        Ok((mut hub, tracer)) => {
            client = client.moved(&hub.base_url);
            let mut lives = load(&client, &mut belief, 10).await && published(&case, &client).await;
            lives = lives && load(&client, &mut belief, 20).await;
            // A kill may still be to come, in the stop too.
            if lives && !kills {
                again = works_again(&case, &hub, &client, &mut belief).await;
            }
            if lives {
                hub.stop_any();
            }
            assert!(lives || kills, "{case}: {}", hub.said());
            hub.kill();
            if let Some(tracer) = tracer {
                tracer.wait();
            }
        }
    }
    let text = trace_of(&trace);
    std::fs::remove_file(&trace).expect("a trace");
    // The writer also wakes the threads that wait for it, by a `write` that is no file's and cannot fail on any machine:
    // a hub that lost its writer refuses everything until it is started again.
    let file = !text.lines().any(|line| line.contains("(INJECTED)") && line.contains("eventfd"));
    assert!(again.is_ok() || !file, "{again:?}");
    judged(&case, directory.path(), &key, client, belief).await;
    text
}

/// The tracer ends with its hub, but writes a moment longer.
fn trace_of(trace: &Path) -> String {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(trace).unwrap_or_default();
        if text.trim_end().ends_with("+++") || std::time::Instant::now() > until {
            return text;
        }
        std::thread::yield_now();
    }
}

/// A start without faults; then everyone who can judge does.
async fn judged(case: &str, directory: &Path, key: &str, client: Client, mut belief: Belief) {
    let hub =
        Running::serve(directory).unwrap_or_else(|said| panic!("{case}: it did not start again: {said}"));
    let client = client.moved(&hub.base_url);
    belief.settle(case, &client).await;
    let mut receipts = Vec::new();
    for one in client.kept() {
        receipts.push(client.prove(&one, key).await);
    }
    judge::agree(directory, judge::shown(&client).await).await;
    hub.stop();
    let audit = directory.join("audit");
    let report = verify_directory(&audit, key).unwrap_or_else(|fault| panic!("{case}: {fault}"));
    assert_eq!((report.unpublished, report.torn_bytes), (0, 0), "{case}");
    let entries = check_record(&audit, key);
    for receipt in &receipts {
        check_receipt(receipt, &entries, key);
    }
    let entries = judge::stored(&entries);
    belief.on_record(&entries);
    judge::agree(directory, entries).await;
}

/// One call of a trace on the hub's own files: name, the how-many-eth of its name in its thread, and what it is for.
struct Call {
    name: String,
    n: usize,
    /// Name and path without numbers, and those of the call before.
    purpose: String,
}

fn enumerate(place: Place, trace: &str) -> Vec<Call> {
    let mut before: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut last = String::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let (thread, line) = match line.split_once(' ') {
            Some((thread, rest)) if thread.parse::<u32>().is_ok() => (thread, rest.trim_start()),
            _ => ("", line),
        };
        let Some((name, rest)) = line.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            continue;
        }
        let n = before.entry((thread.to_owned(), name.to_owned())).or_default();
        *n += 1;
        let ours = match place {
            Place::Store => true,
            Place::Writer => rest.contains("/audit"),
            Place::Start => rest.contains("/audit") || rest.contains("/keys"),
        };
        // Paths stand in quotes or, for descriptors, in angle brackets behind a number.
        let path = rest.split(['"', '>']).find(|part| part.contains('/')).unwrap_or_default();
        let path = path.rsplit_once("/audit").map_or(path, |(_, inside)| inside);
        let this = format!("{name} {}", path.replace(|letter: char| letter.is_ascii_digit(), ""));
        if ours {
            found.push(Call { name: name.to_owned(), n: *n, purpose: format!("{last} then {this}") });
        }
        last = this;
    }
    found
}

/// Every purpose, at its first and its last call.
fn points(place: Place, calls: &[Call]) -> Vec<Point> {
    let mut ends: BTreeMap<&str, (&Call, &Call)> = BTreeMap::new();
    for call in calls {
        ends.entry(&call.purpose).and_modify(|(_, last)| *last = call).or_insert((call, call));
    }
    let mut chosen: Vec<(&str, usize)> = ends
        .values()
        .flat_map(|(first, last)| [(first.name.as_str(), first.n), (last.name.as_str(), last.n)])
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    println!("{place:?}: {} calls of {} purposes, {} chosen", calls.len(), ends.len(), chosen.len());
    assert!(ends.len() > 10, "{place:?}: {:?}", ends.keys());
    let harms = [Harm::Eio, Harm::NoSpace, Harm::Kill];
    let point = |(call, n): &(&str, usize), harm| Point { place, call: (*call).to_owned(), n: *n, harm };
    chosen.iter().flat_map(|one| harms.map(|harm| point(one, harm))).collect()
}

/// Trials that run at once: they wait for disks and starts most of the time.
const LANES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_fault_at_any_system_call_loses_nothing_and_store_and_record_agree() {
    if std::env::var_os("TONGQU_SYSCALLS").is_none() {
        // Calls are counted by thread, so a fault meant for a file can strike the event that wakes the runtime, and
        // then the writer's thread panics: no fault of a disk does that. Until faults are bound to files: by hand.
        eprintln!("set TONGQU_SYSCALLS to `some`, `all` or one case to put faults at system calls");
        return;
    }
    let (sound, crashed) = (Arc::new(Base::sound().await), Arc::new(Base::crashed().await));
    let base = |place| if place == Place::Start { crashed.clone() } else { sound.clone() };
    let mut all = Vec::new();
    for place in [Place::Writer, Place::Store, Place::Start] {
        all.extend(points(place, &enumerate(place, &run(&base(place), place, None).await)));
    }
    let (count, form) = (all.len(), std::env::var("TONGQU_SYSCALLS").unwrap_or_default());
    let chosen: Vec<Point> = match form.as_str() {
        "all" => all,
        "some" => {
            // A step that is no multiple of three takes every harm in turn.
            let step = (count / SHORT).max(1);
            all.into_iter().step_by(if step.is_multiple_of(3) { step + 1 } else { step }).collect()
        }
        // One case again, as a failure prints it.
        case => all.into_iter().filter(|point| format!("{point:?}").contains(case)).collect(),
    };
    let tried = chosen.len();
    let seats = Arc::new(tokio::sync::Semaphore::new(LANES));
    let mut trials = tokio::task::JoinSet::new();
    for point in chosen {
        let (base, seats) = (base(point.place), seats.clone());
        trials.spawn(async move {
            let _seat = seats.acquire().await.expect("a seat");
            let trace = run(&base, point.place, Some(&point)).await;
            let hit = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
            (format!("{:?} {:?}", point.place, point.harm), u64::from(hit))
        });
    }
    let (mut struck, mut failed) = (BTreeMap::<String, u64>::new(), 0);
    while let Some(trial) = trials.join_next().await {
        if trials.len().is_multiple_of(50) {
            println!("{} of {tried} to go, {failed} with losses or doubts, struck: {struck:?}", trials.len());
        }
        // The panic has told its case; the others still count.
        match trial {
            Ok((what, hit)) => *struck.entry(what).or_default() += hit,
            Err(_told) => failed += 1,
        }
    }
    let total: u64 = struck.values().sum();
    println!("{count} faults, {tried} tried, {total} struck, {failed} with losses or doubts: {struck:?}");
    assert_eq!(failed, 0, "see above");
    // The rhythm of publications is the clock's, so a call at the very end may be missing in another run.
    assert!(total * 10 >= tried as u64 * 8, "{struck:?}");
}
