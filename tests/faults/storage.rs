//! Disks that stop taking writes while the hub runs: read-only, immutable, gone, or full for the store alone. Whatever
//! it is, nothing is answered without an entry, and when the disk is back the hub works again without a restart.
//!
//! Linux refuses to remount a file system read-only while files on it are open for writing, which the record's are; what
//! a read-only disk does to a running hub is done with `chattr +i`: every write, new name and removal fails.

use std::path::Path;
use std::time::Duration;

use super::independent::check_record;
use super::judge;
use super::ledger::{Client, JOBS, OPERATOR, held, jobs};
use super::process::{Running, copy_tree, folder, prepared, segment, verifier_key};
use super::space::{Disk, asked, comes_back, is_root, refuses_everything, resumed, until, verify, works};

/// A started hub on a copy of a prepared directory, and its client.
fn started(directory: &Path) -> (Running, Client) {
    copy_tree(prepared().path(), directory);
    let hub = Running::serve(directory).expect("it starts");
    let client = Client::new(directory, &hub.base_url);
    (hub, client)
}

/// Proves all that was answered, stops, and has both verifiers and the judge go over it.
async fn conclude(directory: &Path, hub: Running, client: &Client) {
    let key = verifier_key(directory);
    let mut receipts = Vec::new();
    for kept in client.kept() {
        receipts.push(client.prove(&kept, &key).await);
    }
    hub.stop();
    verify(directory, &key, &receipts, receipts.len());
    let entries = judge::stored(&check_record(&directory.join("audit"), &key));
    judge::agree(directory, entries).await;
}

fn immutable(path: &Path, on: bool) {
    let change = if on { "+i" } else { "-i" };
    works("chattr", &["-R", change, &path.to_string_lossy()])
        .unwrap_or_else(|said| panic!("chattr {change}: {said}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_refuses_and_comes_back_by_itself() {
    let Some(disk) = Disk::or_say_so() else { return };
    let directory = disk.place().join("demo");
    let (hub, client) = started(&directory);
    assert_eq!(asked(&client, 1).await.status, 200);
    let place = disk.place().to_string_lossy().into_owned();
    let said = works("mount", &["-o", "remount,ro", &place]).expect_err("the record's files are open");
    assert!(said.contains("busy"), "{said}");
    assert_eq!(asked(&client, 2).await.status, 200);
    immutable(&directory, true);
    // SQLite maps its index of the WAL into memory, and a write to a map of an immutable file is a SIGBUS.
    immutable(&directory.join("store.sqlite-shm"), false);
    until(&client, "record_unavailable", Duration::from_secs(20)).await;
    refuses_everything(&client).await;
    immutable(&directory, false);
    let back = until(&client, "ok", Duration::from_secs(5)).await;
    println!("back {back:?} after the disk took writes again");
    comes_back(&client).await;
    conclude(&directory, hub, &client).await;
}

/// One file that cannot be written is replaced by another, at once; nobody need do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_takes_no_writes_is_replaced() {
    if !is_root() {
        eprintln!("no immutable file, since only root can make one");
        return;
    }
    let directory = folder();
    let (hub, client) = started(directory.path());
    assert_eq!(asked(&client, 1).await.status, 200);
    let spoilt = segment(directory.path());
    immutable(&spoilt, true);
    let back = until(&client, "ok", Duration::from_secs(5)).await;
    println!("back {back:?} beside a segment that takes no writes");
    assert_ne!(segment(directory.path()), spoilt);
    immutable(&spoilt, false);
    conclude(directory.path(), hub, &client).await;
    assert!(!spoilt.exists(), "what was given up is removed once it can be");
}

/// The folder is moved away under the running hub, and put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_moved_away_refuses_and_comes_back_by_itself() {
    let directory = folder();
    let (hub, client) = started(directory.path());
    assert_eq!(asked(&client, 1).await.status, 200);
    let (audit, aside) = (directory.path().join("audit"), directory.path().join("aside"));
    std::fs::rename(&audit, &aside).expect("moved");
    until(&client, "record_unavailable", Duration::from_secs(20)).await;
    refuses_everything(&client).await;
    assert!(!audit.exists(), "no second record is begun in its place");
    std::fs::create_dir(&audit).expect("another folder");
    assert_eq!(asked(&client, 2).await.code(), "record_unavailable", "another folder is not the record");
    std::fs::remove_dir(&audit).expect("removed");
    std::fs::rename(&aside, &audit).expect("moved");
    let back = until(&client, "ok", Duration::from_secs(5)).await;
    println!("back {back:?} after the record");
    comes_back(&client).await;
    conclude(directory.path(), hub, &client).await;
}

/// The store's disk is full, the record's is not: answers go on, changes are refused, nothing is half done.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_changes_only() {
    let Some(disk) = Disk::or_say_so() else { return };
    let directory = folder();
    copy_tree(prepared().path(), directory.path());
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let path = directory.path().join(name);
        if path.exists() {
            std::fs::copy(&path, disk.place().join(name)).expect("copied");
            std::fs::remove_file(&path).expect("removed");
        }
    }
    std::os::unix::fs::symlink(disk.place().join("store.sqlite"), directory.path().join("store.sqlite"))
        .expect("a link");
    let hub = Running::serve(directory.path()).expect("it starts");
    let client = Client::new(directory.path(), &hub.base_url);
    assert_eq!(asked(&client, 1).await.status, 200);
    disk.fill();
    let act = resumed(&client).await;
    assert_eq!((act.status, act.code().as_str()), (503, "overloaded"), "{act:?}");
    for number in 2..6 {
        let answer = client.ask(OPERATOR, "/v1/queries", &held(number)).await.expect("the hub lives");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let refused = client.ask(JOBS, "/v1/queries", &jobs()).await.expect("the hub lives");
    assert_eq!(refused.status, 403, "a change that was refused is not in force: {refused:?}");
    disk.free();
    let again = tokio::time::timeout(Duration::from_secs(5), async {
        while resumed(&client).await.status != 200 {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("changes work again in time");
    let answer = client.ask(JOBS, "/v1/queries", &jobs()).await.expect("the hub lives");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(client.ready().await);
    conclude(directory.path(), hub, &client).await;
}
