//! The log from outside: append, receipts, reading, restart, many writers.

use std::fs;
use std::path::PathBuf;

use ct_merkle::HashableLeaf;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tempfile::TempDir;

use super::receipt::ReceiptState;
use super::verify::{Fault, verify_directory, verify_receipt};
use super::*;

pub(super) const ORIGIN: &str = "hub.example/record";
pub(super) const NOW_US: i64 = 1_800_000_000_000_000;

/// A hub's folder with keys beside the record, and limits under which only the test publishes.
pub(super) struct Home {
    pub dir: TempDir,
    pub clock: Clock,
    pub limits: Limits,
}

/// In memory where the system offers it: thousands of syncs on a real disk would be most of these tests' time.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Home {
    pub fn new() -> Self {
        let limits = Limits {
            publish_every: Duration::from_secs(3600),
            probe_every: Duration::ZERO,
            ..Limits::default()
        };
        Self { dir: quick_dir(), clock: Clock::fixed(NOW_US), limits }
    }

    pub fn keys(&self) -> Keys {
        Keys::open_or_create(&self.dir.path().join("keys"), ORIGIN).unwrap()
    }

    pub fn record(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    pub fn open(&self) -> Result<(Log, Recovery), OpenError> {
        Log::open(&self.record(), self.keys(), ORIGIN, self.clock.clone(), self.limits.clone())
    }

    pub fn verify(&self) -> Result<verify::Report, Fault> {
        verify_directory(&self.record(), self.keys().verifier_key())
    }
}

pub(super) fn draft(n: u64) -> Draft {
    Draft {
        account: format!("account-{n}"),
        department: "housing".into(),
        operation: "lookup".into(),
        rows: Some(1),
        status: Some(200),
        code: "ok".into(),
        ..Draft::new(Kind::Call)
    }
}

/// Ends the writer as a crash would, without publishing.
pub(super) async fn crash(log: Log) {
    log.command(Command::Abandon).await.unwrap();
}

#[derive(Clone)]
pub(super) struct Leaf(pub Vec<u8>);

impl HashableLeaf for Leaf {
    fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

/// Every entry again, through a tree of someone else's making, against the signed checkpoint.
pub(super) fn check_independently(log: &Log) -> Vec<Vec<u8>> {
    let entries: Vec<Vec<u8>> = log.entries(0..u64::MAX).map(|entry| entry.unwrap().1).collect();
    let mut tree = MemoryBackedTree::<Sha256, Leaf>::new();
    entries.iter().for_each(|entry| tree.push(Leaf(entry.clone())));
    let checkpoint = recover::read_checkpoint(&log.checkpoint(), log.core.keys.verifier_key()).unwrap();
    assert_eq!(checkpoint.size(), entries.len() as u64);
    assert_eq!(checkpoint.hash().0, tree.root().as_bytes().as_slice());
    entries
}

fn check_receipt(home: &Home, log: &Log, id: &ReceiptId, answer: Option<&[u8]>) -> verify::Verified {
    let receipt = log.receipt(id).unwrap().unwrap();
    let json = receipt.to_json().to_string();
    verify_receipt(json.as_bytes(), home.keys().verifier_key(), answer).unwrap()
}

#[tokio::test]
async fn an_answer_has_a_receipt_before_and_after_publishing_and_after_a_restart() {
    let home = Home::new();
    let (log, recovery) = home.open().unwrap();
    assert_eq!(recovery, Recovery::default());
    let mut call = draft(1);
    call.commitment = log.commitment(&call.receipt, &sha256(&[b"the answer"]));
    call.store_revision = Some(41);
    let id = call.receipt.clone();
    let recorded = log.append(call, Some(b"select name from population.resident".to_vec())).await.unwrap();
    assert_eq!((recorded.index(), recorded.receipt()), (0, id.to_string().as_str()));
    check_receipt(&home, &log, &id, Some(b"the answer"));
    assert!(log.publish().await);
    check_receipt(&home, &log, &id, Some(b"the answer"));
    assert_eq!(log.side(0).unwrap().unwrap(), b"select name from population.resident");
    let json = log.receipt(&id).unwrap().unwrap().to_json().to_string();
    assert!(json.len() < 4096 && !json.contains("population"));
    log.close().await;
    assert_eq!(log.append(draft(2), None).await.unwrap_err(), AppendError::Closed);
    assert_eq!(home.verify().unwrap().size, 1);
    let (log, _) = home.open().unwrap();
    let verified = check_receipt(&home, &log, &id, Some(b"the answer"));
    assert_eq!(verified.receipt.state, ReceiptState::Recorded);
    assert_eq!((log.last_store_revision(), log.size()), (41, 1));
    assert_eq!(log.receipt(&ReceiptId::random()).unwrap(), None);
}

#[tokio::test]
async fn forged_receipts_are_refused() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut call = draft(n);
        call.commitment = log.commitment(&call.receipt, &sha256(&[b"the answer"]));
        ids.push(call.receipt.clone());
        log.append(call, None).await.unwrap();
    }
    let key = home.keys().verifier_key().to_owned();
    let good = log.receipt(&ids[2]).unwrap().unwrap();
    let other = log.receipt(&ids[3]).unwrap().unwrap();
    let check = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        verify_receipt(receipt.to_json().to_string().as_bytes(), &key, Some(b"the answer")).is_ok()
    };
    assert!(check(&|_| ()));
    assert!(!check(&|r| r.index = 1));
    assert!(!check(&|r| r.index = u64::MAX));
    assert!(!check(&|r| r.id = other.id.clone()));
    assert!(!check(&|r| r.entry = other.entry.clone()));
    assert!(!check(&|r| r.proof = other.proof.clone()));
    assert!(!check(&|r| r.proof.clear()));
    assert!(!check(&|r| r.proof.push(r.proof[0].clone())));
    assert!(!check(&|r| r.proof[0] = "AAAA".into()));
    assert!(!check(&|r| r.salt = other.salt.clone()));
    assert!(!check(&|r| r.state = ReceiptState::Running));
    assert!(!check(&|r| r.origin = "other.example".into()));
    assert!(!check(&|r| r.v = 2));
    assert!(!check(&|r| r.checkpoint = r.checkpoint.replacen("\n5\n", "\n6\n", 1)));
    assert!(!check(&|r| r.checkpoint.truncate(40)));
    let json = good.to_json().to_string();
    assert!(verify_receipt(json.as_bytes(), &key, Some(b"another answer")).is_err());
    assert!(verify_receipt(json.replace("\"v\":1", "\"v\":1,\"w\":1").as_bytes(), &key, None).is_err());
    let stranger = Home::new();
    assert!(verify_receipt(json.as_bytes(), stranger.keys().verifier_key(), None).is_err());
}

#[tokio::test]
async fn a_stream_is_running_then_recorded_or_aborted() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let open = |n: u64| Draft {
        kind: Kind::Opened,
        day: Some(20_270_115),
        grants: vec!["grant_a@2".into()],
        rows: Some(100),
        ..draft(n)
    };
    let (kept, lost) = (open(1), open(2));
    let opened = log.append(kept.clone(), None).await.unwrap();
    log.append(lost.clone(), None).await.unwrap();
    let state = |log: &Log, id: &ReceiptId| check_receipt(&home, log, id, None).receipt.state;
    assert_eq!(state(&log, &kept.receipt), ReceiptState::Running);
    let closed =
        Draft { kind: Kind::Closed, opened_index: Some(opened.index()), rows: Some(30), ..kept.clone() };
    log.append(closed, None).await.unwrap();
    assert_eq!(state(&log, &kept.receipt), ReceiptState::Recorded);
    let verified = check_receipt(&home, &log, &kept.receipt, None);
    assert_eq!(verified.receipt.opened.unwrap().index, 0);
    crash(log).await;
    let (log, recovery) = home.open().unwrap();
    assert_eq!(recovery.replayed, 3);
    assert_eq!(state(&log, &lost.receipt), ReceiptState::Aborted);
    // 30 rows of the one that closed, 100 reserved by the one that did not.
    assert_eq!(log.rows_by_grant(20_270_115, 0).unwrap(), BTreeMap::from([("grant_a".to_owned(), 130)]));
    assert_eq!(log.rows_by_grant(20_270_116, 0).unwrap(), BTreeMap::new());
    log.close().await;
    assert_eq!(home.verify().unwrap().unclosed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs_and_each_gets_its_own_place() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..10 {
                    let call = draft(writer * 100 + n);
                    let id = call.receipt.clone();
                    places.push((log.append(call, None).await.unwrap().index(), id));
                }
                places
            })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        places.extend(task.await.unwrap());
    }
    let entries = check_independently(&log);
    assert_eq!(entries.len(), 640);
    for (index, id) in &places {
        let entry = Entry::parse(&entries[usize::try_from(*index).unwrap()]).unwrap();
        assert_eq!(entry.draft.receipt, *id);
    }
    for (_, id) in places.iter().step_by(37) {
        check_receipt(&home, &log, id, None);
    }
}

#[tokio::test]
async fn a_full_queue_and_a_large_side_object_are_refused_at_once() {
    let mut home = Home::new();
    home.limits.queue_max = 0;
    home.limits.side_bytes_max = 10;
    let (log, _) = home.open().unwrap();
    assert_eq!(log.append(draft(1), Some(vec![0; 11])).await.unwrap_err(), AppendError::SideTooLarge(10));
    // With no room at all only a writer that waits at this very moment takes an entry.
    let mut refused = 0;
    for n in 0..100 {
        let (first, second) = tokio::join!(log.append(draft(n), None), log.append(draft(n), None));
        refused += [first, second].iter().filter(|r| matches!(r, Err(AppendError::Overloaded))).count();
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn published_files_are_read_by_their_paths_only() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    for n in 0..300 {
        log.core.extend(&[pending(&log, n)]).unwrap();
    }
    assert!(log.publish().await);
    for (path, len) in [
        ("tile/0/000", Some(256 * 32)),
        ("tile/0/001.p/44", Some(44 * 32)),
        ("tile/0/001.p/43", Some(43 * 32)),
        ("tile/0/000.p/7", Some(7 * 32)),
        ("tile/1/000.p/1", Some(32)),
        ("tile/0/001.p/45", None),
        ("tile/0/001", None),
        ("tile/1/000.p/2", None),
        ("tile/7/000.p/1", None),
        ("tile/entries/x999/999.p/1", None),
        ("../keys/log.key", None),
        ("segment", None),
        ("tile/0/../../../keys/log.key", None),
    ] {
        assert_eq!(log.read(path).unwrap().map(|bytes| bytes.len()), len, "{path}");
    }
    let bundle = log.read("tile/entries/001.p/40").unwrap().unwrap();
    let entries = tiles::decode_entries(&bundle).unwrap();
    assert_eq!(entries, check_independently(&log)[256..296]);
    let checkpoint = log.read("checkpoint").unwrap().unwrap();
    assert_eq!(checkpoint, fs::read(home.record().join("checkpoint")).unwrap());
}

/// An entry for tests that fill the log without a sync each.
pub(super) fn pending(log: &Log, n: u64) -> Pending {
    log.core.prepare(draft(n), None, oneshot::channel().0).unwrap()
}

#[tokio::test]
async fn a_log_with_two_levels_of_complete_tiles_restarts_proves_and_verifies() {
    const SIZE: u64 = 66_000;
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut ids = Vec::new();
    for first in (0..SIZE).step_by(5500) {
        let batch: Vec<Pending> = (first..first + 5500).map(|n| pending(&log, n)).collect();
        ids.extend(batch.iter().map(|pending| pending.id));
        log.core.extend(&batch).unwrap();
        assert!(log.publish().await);
    }
    assert!(
        log.core.read(|state| state.edge.levels.iter().map(|level| level.hashes.len()).sum::<usize>())
            < 3 * 256
    );
    log.close().await;
    let (log, _) = home.open().unwrap();
    for n in [0, 255, 256, 65_535, 65_536, SIZE - 1] {
        let id = ReceiptId::parse(&format!("rcpt_{}", hex(&ids[n as usize]))).unwrap();
        assert_eq!(check_receipt(&home, &log, &id, None).receipt.index, n);
    }
    assert_eq!(log.core.read(|state| state.index.filed_to()), index::SPAN);
    check_independently(&log);
    log.close().await;
    assert_eq!(home.verify().unwrap().size, SIZE);
    fs::remove_dir_all(home.record().join("index")).unwrap();
    let (log, _) = home.open().unwrap();
    assert_eq!(log.core.read(|state| state.index.filed_to()), index::SPAN);
}

#[tokio::test]
async fn starts_that_are_refused() {
    type Case = (fn(&Home), fn(&OpenError) -> bool);
    let cases: [Case; 7] = [
        (
            |home| flip(&home.record().join("checkpoint"), 20),
            |e| matches!(e, OpenError::OtherKey | OpenError::Checkpoint),
        ),
        (
            |home| fs::remove_dir_all(home.dir.path().join("keys")).unwrap(),
            |e| matches!(e, OpenError::OtherKey),
        ),
        (
            |home| fs::remove_file(home.record().join("checkpoint")).unwrap(),
            |e| matches!(e, OpenError::NoCheckpoint),
        ),
        (|home| flip(&home.record().join("tile/0/000.p/3"), 40), |e| matches!(e, OpenError::Root)),
        (|home| flip(&home.record().join("tile/entries/000.p/3"), 40), |e| matches!(e, OpenError::Root)),
        (
            |home| fs::remove_file(home.record().join("tile/entries/000.p/3")).unwrap(),
            |e| matches!(e, OpenError::Io(_)),
        ),
        (|home| home.clock.turn(-49 * 3600 * SECOND_US), |e| matches!(e, OpenError::ClockBack(_))),
    ];
    for (at, (spoil, expect)) in cases.into_iter().enumerate() {
        let home = Home::new();
        let (log, _) = home.open().unwrap();
        for n in 0..3 {
            log.append(draft(n), None).await.unwrap();
        }
        assert!(matches!(home.open(), Err(OpenError::Locked(_))));
        log.close().await;
        spoil(&home);
        let fault = home.open().unwrap_err();
        assert!(expect(&fault), "case {at}: {fault}");
    }
    let home = Home::new();
    let other =
        Log::open(&home.record(), home.keys(), "other.example", home.clock.clone(), Limits::default());
    assert!(matches!(other, Err(OpenError::OtherOrigin { .. })));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_recorded_and_damage_before_it_refuses() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    for n in 0..4 {
        log.append(draft(n), None).await.unwrap();
    }
    crash(log).await;
    let segment = fs::read_dir(home.record().join("segment")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&segment).unwrap();
    flip(&segment, 300);
    assert!(matches!(home.open(), Err(OpenError::Segment { .. })));
    assert!(matches!(home.verify(), Err(Fault::Segment(_))));
    fs::write(&segment, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(home.verify().unwrap().unpublished, 3);
    let (log, recovery) = home.open().unwrap();
    assert!(recovery.cut_bytes > 0 && recovery.replayed == 3, "{recovery:?}");
    let entries = check_independently(&log);
    let last = Entry::parse(&entries[3]).unwrap();
    assert_eq!((last.draft.kind, last.draft.bytes), (Kind::Recovered, Some(recovery.cut_bytes)));
}

#[tokio::test]
async fn a_clock_that_went_back_is_recorded_and_order_stays() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(draft(1), None).await.unwrap();
    log.close().await;
    home.clock.turn(-3600 * SECOND_US);
    let (log, recovery) = home.open().unwrap();
    assert_eq!(recovery.clock_back_us, 3600 * 1_000_000);
    assert_eq!(log.append(draft(2), None).await.unwrap().index(), 2);
    let entries = check_independently(&log);
    assert_eq!(Entry::parse(&entries[1]).unwrap().draft.code, "clock_back");
}

#[tokio::test]
async fn the_table_shows_every_entry_in_order_with_the_columns_asked_for() {
    use datafusion::arrow::array::{AsArray, RecordBatch};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::prelude::SessionContext;

    let home = Home::new();
    let (log, _) = home.open().unwrap();
    for n in 0..9000 {
        log.core.extend(&[pending(&log, n)]).unwrap();
        if n == 5000 {
            assert!(log.publish().await);
        }
    }
    let session = SessionContext::new();
    session.register_table("audit", log.table()).unwrap();
    let ask =
        async |sql: &str| -> Vec<RecordBatch> { session.sql(sql).await.unwrap().collect().await.unwrap() };
    let count = ask("select count(*), sum(rows), max(index) from audit").await;
    let number = |column: usize| count[0].column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!((number(0), number(1), number(2)), (9000, 9000, 8999));
    let one = ask("select account, time, reasons from audit where index = 4321").await;
    let one = one.iter().find(|batch| batch.num_rows() > 0).unwrap();
    assert_eq!(one.column(0).as_string::<i32>().value(0), "account-4321");
    assert_eq!(one.column(2).null_count(), 1);
    assert_eq!(log.table().schema(), audit_resource().schema());
    assert!(audit_resource().items.iter().all(|item| catalog::ids::is_name(&item.name)));
}
