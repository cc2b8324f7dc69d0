//! A file that appears whole under its name, or not at all.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::SourceError;

/// Removed unless it is kept.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    pub(crate) file: File,
}

impl Scratch {
    pub(crate) fn beside(path: &Path) -> Result<Self, SourceError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.{}.{number}.part", process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Makes it durable under `path`.
    pub(crate) fn keep(self, path: &Path) -> Result<(), SourceError> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already when it was renamed into place.
        let _ = fs::remove_file(&self.path);
    }
}
