//! Every write of the record goes through this small trait, so that a test can make call n fail.
//!
//! INVARIANT: after `sync` of a file and `sync_dir` of its folder, what was written survives a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writing side of a file system.
pub(crate) trait Disk: Send + Sync {
    /// Makes a new file, mode 0600; it must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and its parents, mode 0700; it may exist.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file being written.
pub(crate) trait DiskFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything appended so far durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The operating system's file system.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Replaces `path` durably: temporary file, sync, rename. The caller syncs the folder.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(".tmp");
    let temp = Path::new(&temp);
    // A temporary file of an interrupted attempt says nothing.
    if temp.exists() {
        disk.remove(temp)?;
    }
    let mut file = disk.create(temp)?;
    file.append(bytes)?;
    file.sync()?;
    disk.rename(temp, path)
}

#[cfg(test)]
pub(crate) mod faulty {
    //! A disk whose n-th call fails, having been carried out or not.

    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Fault {
        /// The call fails and nothing of it stays; a failed sync loses what was not yet synced.
        Lost,
        /// The call fails after it was carried out.
        Kept,
    }

    #[derive(Default)]
    pub struct Plan {
        calls: AtomicU64,
        /// The call that fails; 0 for none.
        fails_at: AtomicU64,
        kept: AtomicBool,
        /// Every call that writes bytes fails, as on a full disk.
        pub full: AtomicBool,
    }

    impl Plan {
        /// Counts from now: the n-th call from here fails (1 is the next).
        pub fn fail(&self, n: u64, fault: Fault) {
            self.kept.store(fault == Fault::Kept, Ordering::SeqCst);
            self.calls.store(0, Ordering::SeqCst);
            self.fails_at.store(n, Ordering::SeqCst);
        }

        pub fn reached(&self) -> bool {
            self.calls.load(Ordering::SeqCst) >= self.fails_at.load(Ordering::SeqCst)
        }

        fn next(&self) -> Option<Fault> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            (call == self.fails_at.load(Ordering::SeqCst))
                .then(|| if self.kept.load(Ordering::SeqCst) { Fault::Kept } else { Fault::Lost })
        }

        fn run<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            match self.next() {
                None => call(),
                Some(Fault::Lost) => Err(io::Error::other("injected, lost")),
                Some(Fault::Kept) => {
                    call()?;
                    Err(io::Error::other("injected, kept"))
                }
            }
        }
    }

    pub struct FaultyDisk(pub Arc<Plan>);

    struct FaultyFile {
        plan: Arc<Plan>,
        file: Box<dyn DiskFile>,
        path: PathBuf,
        synced: u64,
    }

    impl Disk for FaultyDisk {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            let file = self.0.run(|| RealDisk.create(path))?;
            Ok(Box::new(FaultyFile { plan: self.0.clone(), file, path: path.to_owned(), synced: 0 }))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.run(|| RealDisk.rename(from, to))
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.run(|| RealDisk.remove(path))
        }

        fn make_dir(&self, path: &Path) -> io::Result<()> {
            self.0.run(|| RealDisk.make_dir(path))
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.run(|| RealDisk.sync_dir(path))
        }
    }

    impl DiskFile for FaultyFile {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if self.plan.full.load(Ordering::SeqCst) {
                // A full disk takes what still fits: half of it.
                self.file.append(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let plan = self.plan.clone();
            plan.run(|| self.file.append(bytes))
        }

        fn sync(&mut self) -> io::Result<()> {
            let plan = self.plan.clone();
            let result = match plan.next() {
                None => self.file.sync(),
                Some(Fault::Kept) => {
                    self.file.sync()?;
                    Err(io::Error::other("injected, kept"))
                }
                // As after a write-back error: the pages are gone.
                Some(Fault::Lost) => {
                    self.file.truncate(self.synced)?;
                    return Err(io::Error::other("injected, lost"));
                }
            };
            self.synced = fs::metadata(&self.path)?.len();
            result
        }

        fn truncate(&mut self, len: u64) -> io::Result<()> {
            let plan = self.plan.clone();
            plan.run(|| self.file.truncate(len))
        }
    }
}
