//! A full disk, a real one: 32 MB of ext4 on a loop device. Making one needs root; without it the disks that fail in
//! `src/audit/faults.rs` stand alone, and this test says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tongqu::audit::verify::verify_directory;

use super::independent::{check_receipt, check_record};
use super::ledger::{Answer, Client, JOBS, OPERATOR, PROVIDER, held, jobs, streamed};
use super::process::{Running, copy_tree, folder, prepared, verifier_key};

/// A small disk; unmounted when dropped.
pub struct Disk {
    /// Holds image and mount point.
    folder: TempDir,
}

pub fn works(program: &str, arguments: &[&str]) -> Result<(), String> {
    let said = Command::new(program).args(arguments).output().map_err(|cause| cause.to_string())?;
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
}

impl Disk {
    pub fn mount() -> Result<Self, String> {
        let folder = folder();
        let (image, place) = (folder.path().join("image"), folder.path().join("disk"));
        std::fs::create_dir(&place).expect("a folder");
        std::fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("an image");
        let (image, place) = (image.to_string_lossy().into_owned(), place.to_string_lossy().into_owned());
        works("mkfs.ext4", &["-q", "-m", "0", &image])?;
        works("mount", &["-o", "loop", &image, &place])?;
        Ok(Self { folder })
    }

    /// Only root can mount; as root, as in CI, a disk that cannot be had is a failure.
    pub fn or_say_so() -> Option<Self> {
        match Self::mount() {
            Ok(disk) => Some(disk),
            Err(cause) if is_root() => panic!("no disk to try (a loop device is needed): {cause}"),
            Err(cause) => {
                eprintln!("no disk to try, since only root can mount one: {cause}");
                None
            }
        }
    }

    pub fn place(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes every last byte.
    pub fn fill(&self) {
        use std::io::Write;
        let mut ballast = std::fs::File::create(self.place().join("ballast")).expect("a file");
        for size in [1 << 20, 1 << 12, 1 << 9, 1] {
            while ballast.write_all(&vec![7; size]).is_ok() {}
        }
        let _full = ballast.sync_all();
    }

    pub fn free(&self) {
        std::fs::remove_file(self.place().join("ballast")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(cause) = works("umount", &[&self.place().to_string_lossy()]) {
            eprintln!("the disk stays mounted: {cause}");
        }
    }
}

pub async fn asked(client: &Client, number: u64) -> Answer {
    client.ask(OPERATOR, "/v1/queries", &held(number)).await.expect("the hub lives")
}

/// Asks until an answer has this code.
pub async fn until(client: &Client, code: &str, patience: Duration) -> Duration {
    let start = Instant::now();
    let mut number = 1000;
    let reached = tokio::time::timeout(patience, async {
        while asked(client, number).await.code() != code {
            number += 1;
            tokio::task::yield_now().await;
        }
    });
    reached.await.unwrap_or_else(|_late| panic!("no `{code}` within {patience:?}"));
    start.elapsed()
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_comes_back_by_itself() {
    let Some(disk) = Disk::or_say_so() else { return };
    let directory = disk.place().join("demo");
    copy_tree(prepared().path(), &directory);
    let hub = Running::serve(&directory).expect("it starts");
    let client = Client::new(&directory, &hub.base_url);
    assert_eq!(asked(&client, 1).await.status, 200);
    disk.fill();
    until(&client, "record_unavailable", Duration::from_secs(20)).await;
    refuses_everything(&client).await;
    disk.free();
    let back = until(&client, "ok", Duration::from_secs(5)).await;
    println!("back {back:?} after the space");
    comes_back(&client).await;
    let mut receipts = Vec::new();
    let key = verifier_key(&directory);
    for kept in client.kept() {
        receipts.push(client.prove(&kept, &key).await);
    }
    hub.stop();
    verify(&directory, &key, &receipts, client.kept().len());
}

/// Nothing is answered or changed without an entry.
pub async fn refuses_everything(client: &Client) {
    let before = client.kept().len();
    for number in 0..20 {
        for body in [held(number), streamed(number)] {
            let answer = client.ask(OPERATOR, "/v1/queries", &body).await.expect("the hub lives");
            assert_eq!((answer.status, answer.code().as_str()), (503, "record_unavailable"), "{answer:?}");
            assert!(answer.json()["rows"].is_null(), "{answer:?}");
        }
    }
    assert_eq!(client.kept().len(), before, "no receipts while nothing can be recorded");
    assert_eq!(client.get(OPERATOR, "/readyz").await.status, 503, "not ready");
    assert_eq!(client.get(OPERATOR, "/livez").await.status, 200, "alive");
    let act = resumed(client).await;
    assert_eq!(act.status, 503, "{act:?}");
    let state = grant(client).await["state"].clone();
    assert_eq!(state, json!("suspended"), "an unrecorded change is not in force");
}

async fn grant(client: &Client) -> serde_json::Value {
    client.get(JOBS, "/v1/grants").await.json()["grants"][0].clone()
}

pub async fn resumed(client: &Client) -> Answer {
    let path = format!("/v1/grants/{}/resume", grant(client).await["id"].as_str().expect("a grant"));
    client.act(PROVIDER, &path, "resume-full", &json!({"reason": "filed"})).await.expect("the hub lives")
}

/// The refused change repeated with its key is done once.
pub async fn comes_back(client: &Client) {
    assert_eq!(client.get(OPERATOR, "/readyz").await.status, 200);
    let act = resumed(client).await;
    assert_eq!(act.status, 200, "{act:?}");
    let found = grant(client).await;
    assert_eq!((&found["state"], &found["version"]), (&json!("active"), &json!(3)), "{found}");
    let answer = client.ask(JOBS, "/v1/queries", &jobs()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = client.ask(OPERATOR, "/v1/queries", &streamed(99)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub fn verify(directory: &Path, key: &str, receipts: &[Vec<u8>], kept: usize) {
    let audit = directory.join("audit");
    let report = verify_directory(&audit, key).expect("it verifies");
    assert_eq!((report.unpublished, report.torn_bytes), (0, 0));
    let entries = check_record(&audit, key);
    assert_eq!(receipts.len(), kept);
    for receipt in receipts {
        check_receipt(receipt, &entries, key);
    }
}
