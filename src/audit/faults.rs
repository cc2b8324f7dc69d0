//! The fault table: every call to the disk fails once, carried out or not, around a tile boundary.
//!
//! After every step of each case, and again after a crash and a restart: every acknowledged entry is where its index says, an
//! independent tree agrees with the signed checkpoint, and the folder verifies.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk::faulty::{Fault, FaultyDisk, Plan};
use super::tests::{Home, ORIGIN, check_independently, crash, draft, pending};
use super::*;

fn open_faulty(home: &Home, plan: &Arc<Plan>) -> Result<Log, OpenError> {
    let disk = Box::new(FaultyDisk(plan.clone()));
    recover::open(disk, &home.record(), home.keys(), ORIGIN, home.clock.clone(), home.limits.clone())
        .map(|(log, _)| log)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

/// Entries acknowledged so far, by receipt and index.
type Ledger = Vec<(String, u64)>;

/// Appends and publishes across entry 256; whatever fails is not repeated but for the appends that follow.
/// Everything is looked at after every step: a state that is wrong for one step only is wrong.
/// Folders as a crash would leave them are looked at in the step in which the fault struck and in the one after.
async fn story(home: &Home, plan: &Plan, log: &Log, ledger: &mut Ledger) {
    let mut looks = 0..2;
    let mut look = async |ledger: &Ledger| {
        check(log, ledger);
        if plan.reached() && looks.next().is_some() {
            check_crashed_now(home, ledger).await;
        }
    };
    for step in 0..8 {
        let side = (step % 3 == 0).then(|| vec![7; 20]);
        if let Ok(recorded) = log.append(draft(step), side).await {
            ledger.push((recorded.receipt().to_owned(), recorded.index()));
        }
        look(ledger).await;
        if step % 2 == 1 {
            log.publish().await;
            look(ledger).await;
        }
    }
}

/// The folder as a crash in this very moment would leave it: it verifies, and a start finds every acknowledged entry.
async fn check_crashed_now(home: &Home, ledger: &Ledger) {
    let now = Home::new();
    copy(home.dir.path(), now.dir.path());
    now.verify().unwrap_or_else(|cause| panic!("crashed: {cause}"));
    let (log, _) = now.open().unwrap_or_else(|cause| panic!("started again: {cause}"));
    check(&log, ledger);
    crash(log).await;
}

fn check(log: &Log, ledger: &Ledger) {
    let entries = check_independently(log);
    for (receipt, index) in ledger {
        let entry = Entry::parse(&entries[usize::try_from(*index).unwrap()]).unwrap();
        assert_eq!(entry.draft.receipt.to_string(), *receipt);
        let id = ReceiptId::parse(receipt).unwrap();
        assert_eq!(log.receipt(&id).unwrap().unwrap().index, *index);
    }
}

/// 253 entries, closed: the story crosses into the second tile.
async fn prepared() -> Home {
    let mut home = Home::new();
    // Segments are replaced at every publication, so that replacing them is part of the table too.
    home.limits.segment_bytes_max = 100;
    let (log, _) = home.open().unwrap();
    for n in 0..253 {
        log.core.extend(&[pending(&log, n)]).unwrap();
    }
    log.close().await;
    home
}

#[tokio::test]
async fn no_failed_call_loses_or_changes_an_acknowledged_entry() {
    let base = prepared().await;
    let aside = tempfile::tempdir().unwrap();
    let untouched = aside.path().join("record");
    copy(&base.record(), &untouched);
    for fault in [Fault::Lost, Fault::Kept] {
        let mut last = false;
        for call in 1.. {
            if last {
                assert!(call > 50, "the story makes {call} calls only");
                break;
            }
            fs::remove_dir_all(base.record()).unwrap();
            copy(&untouched, &base.record());
            let plan = Arc::new(Plan::default());
            let mut ledger = Ledger::new();
            plan.fail(call, fault);
            if let Ok(log) = open_faulty(&base, &plan) {
                story(&base, &plan, &log, &mut ledger).await;
                last = !plan.reached();
                check(&log, &ledger);
                plan.fail(u64::MAX, fault);
                // The disk works again: so does the log, without a restart.
                let recorded = log.append(draft(100), None).await.unwrap();
                ledger.push((recorded.receipt().to_owned(), recorded.index()));
                check(&log, &ledger);
                assert!(ledger.len() >= 8, "{fault:?} at call {call}: {} acknowledged", ledger.len());
                crash(log).await;
            }
            base.verify().unwrap_or_else(|cause| panic!("{fault:?} at call {call}, crashed: {cause}"));
            let (log, _) = base.open().unwrap_or_else(|cause| panic!("{fault:?} at call {call}: {cause}"));
            check(&log, &ledger);
            log.close().await;
            let report = base.verify().unwrap_or_else(|cause| panic!("{fault:?} at call {call}: {cause}"));
            assert!(report.size >= 253 + ledger.len() as u64 && report.unpublished == 0);
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_works_again_without_a_restart() {
    let home = Home::new();
    let plan = Arc::new(Plan::default());
    let log = open_faulty(&home, &plan).unwrap();
    let mut ledger = Ledger::new();
    story(&home, &plan, &log, &mut ledger).await;
    assert_eq!(ledger.len(), 8);
    plan.full.store(true, Ordering::SeqCst);
    for n in 0..5 {
        assert_eq!(log.append(draft(n), None).await.unwrap_err(), AppendError::RecordUnavailable);
    }
    assert!(!log.health().writable && log.health().fault.is_some());
    assert_eq!(log.size(), 8);
    check(&log, &ledger);
    plan.full.store(false, Ordering::SeqCst);
    story(&home, &plan, &log, &mut ledger).await;
    assert_eq!(ledger.len(), 16);
    assert!(log.health().writable && log.health().fault.is_none());
    crash(log).await;
    let (log, recovery) = home.open().unwrap();
    check(&log, &ledger);
    assert_eq!((log.size(), recovery.cut_bytes), (16, 0));
}

#[tokio::test]
async fn entries_of_a_given_up_segment_beyond_the_acknowledged_size_never_count() {
    for fault in [Fault::Lost, Fault::Kept] {
        let home = Home::new();
        let plan = Arc::new(Plan::default());
        let log = open_faulty(&home, &plan).unwrap();
        log.append(draft(0), None).await.unwrap();
        // The second call of an append is its sync.
        plan.fail(2, fault);
        assert_eq!(log.append(draft(1), None).await.unwrap_err(), AppendError::RecordUnavailable);
        let after = draft(2);
        let id = after.receipt.clone();
        assert_eq!(log.append(after, None).await.unwrap().index(), 1);
        crash(log).await;
        assert_eq!(home.verify().unwrap().unpublished, 2);
        let (log, _) = home.open().unwrap();
        assert_eq!((log.size(), log.receipt(&id).unwrap().unwrap().index), (2, 1));
    }
}
