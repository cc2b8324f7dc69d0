//! Paths of bindings: below the source root whatever links say, and whether a file is still the one that was mounted.
//!
//! INVARIANT: no path that resolves outside the binding's top folder (its provider's) is opened; links inside that
//! folder are followed, links out of it are refused.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use catalog::FileFormat;
use twox_hash::XxHash64;

use crate::{SourceError, SourceLimits};

/// What makes a file the same file: where it lies, how long it is, when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    pub(crate) bytes: u64,
    modified_ns: i128,
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }

    pub(crate) fn same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A file of a binding, by its resolved path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) identity: FileIdentity,
}

impl Place {
    /// Whether the same file still lies there.
    pub(crate) fn unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| FileIdentity::of(&metadata) == self.identity)
    }
}

/// One number for all files of a mount, stable over restarts.
pub(crate) fn fingerprint(places: &[Place]) -> u64 {
    let mut text = String::new();
    for place in places {
        text.push_str(&format!("{}\u{0}{:?}\u{0}", place.path.display(), place.identity));
    }
    XxHash64::oneshot(0, text.as_bytes())
}

/// The resolved path of `relative` under `root`, which must itself be resolved.
pub(crate) fn resolve(root: &Path, relative: &str) -> Result<PathBuf, SourceError> {
    let fault = |reason| SourceError::Path { path: relative.to_owned(), reason };
    let plain = Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)));
    if relative.is_empty() || !plain || relative.contains(['\0', '\\']) {
        return Err(fault("must be relative to the source root, without `..`"));
    }
    let resolved = fs::canonicalize(root.join(relative))
        .map_err(|_| fault("does not exist or cannot be read; put the file there"))?;
    if !resolved.starts_with(top(root, relative)) {
        return Err(fault("leads out of its folder; put the file itself there, not a link"));
    }
    Ok(resolved)
}

/// The folder (or file) right below the root that a binding lies in.
fn top(root: &Path, relative: &str) -> PathBuf {
    Path::new(relative).components().next().map_or_else(|| root.to_owned(), |first| root.join(first))
}

fn place(root: &Path, relative: &str, path: &Path) -> Result<Place, SourceError> {
    let fault = |reason| SourceError::Path { path: relative.to_owned(), reason };
    let path = fs::canonicalize(path).map_err(|_| fault("holds a broken link; remove it"))?;
    if !path.starts_with(top(root, relative)) {
        return Err(fault("leads out of its folder; put the file itself there, not a link"));
    }
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() {
        return Err(fault("holds something that is not a file; remove it"));
    }
    Ok(Place { identity: FileIdentity::of(&metadata), path })
}

/// The single file at `relative`.
pub(crate) fn file(root: &Path, relative: &str) -> Result<Place, SourceError> {
    let path = resolve(root, relative)?;
    place(root, relative, &path)
}

/// The file at `relative`, or the files of `format` directly in that folder, by name; hidden files are left out.
pub(crate) fn files(
    root: &Path,
    relative: &str,
    format: FileFormat,
    limits: &SourceLimits,
) -> Result<Vec<Place>, SourceError> {
    let path = resolve(root, relative)?;
    if !path.is_dir() {
        return Ok(vec![place(root, relative, &path)?]);
    }
    let endings: &[&str] = match format {
        FileFormat::Parquet => &["parquet"],
        FileFormat::Csv => &["csv"],
        FileFormat::Json => &["json", "jsonl", "ndjson"],
        FileFormat::Arrow => &["arrow", "arrows", "feather"],
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(&path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let fits = |found: &std::ffi::OsStr| endings.iter().any(|ending| found.eq_ignore_ascii_case(ending));
        if hidden || !path.extension().is_some_and(fits) {
            continue;
        }
        if names.len() == limits.files_max {
            return Err(SourceError::TooLarge(format!("more than {} files", limits.files_max)));
        }
        names.push(path);
    }
    names.sort();
    if names.is_empty() {
        return Err(SourceError::Path {
            path: relative.to_owned(),
            reason: "is a folder without files of the declared format; put them there",
        });
    }
    names.iter().map(|path| place(root, relative, path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let outside = tempfile::tempdir().expect("outside");
        fs::write(outside.path().join("secret.csv"), "a\n1\n").expect("secret");
        let folder = tempfile::tempdir().expect("root");
        let root = fs::canonicalize(folder.path()).expect("root");
        fs::create_dir_all(root.join("dept/parts")).expect("parts");
        fs::create_dir_all(root.join("empty")).expect("empty");
        fs::write(root.join("dept/a.csv"), "a\n1\n").expect("a");
        fs::write(root.join("dept/parts/1.csv"), "a\n1\n").expect("1");
        fs::write(root.join("dept/parts/.2.csv"), "a\n1\n").expect("2");
        std::os::unix::fs::symlink(outside.path(), root.join("dept/out")).expect("link");
        std::os::unix::fs::symlink(outside.path().join("secret.csv"), root.join("dept/out.csv"))
            .expect("link");
        std::os::unix::fs::symlink(root.join("dept/a.csv"), root.join("dept/in.csv")).expect("link");
        let found = |path: &str| files(&root, path, FileFormat::Csv, &SourceLimits::default());
        for (path, expect) in [
            ("dept/a.csv", Some(1)),
            ("dept/in.csv", Some(1)),
            ("dept/parts", Some(1)),
            ("dept", None),
            ("empty", None),
            ("", None),
            (".", None),
            ("..", None),
            ("/etc/passwd", None),
            ("dept/../../etc/passwd", None),
            ("dept/../dept/a.csv", None),
            ("./dept/a.csv", None),
            ("dept\\a.csv", None),
            ("dept/a.csv\0", None),
            ("dept/out.csv", None),
            ("dept/out/secret.csv", None),
            ("dept/none.csv", None),
        ] {
            let got = found(path);
            assert_eq!(got.as_ref().ok().map(Vec::len), expect, "{path}: {got:?}");
            if let Err(error) = got {
                assert!(!error.to_string().contains(&*root.to_string_lossy()), "{error}");
            }
        }
    }

    #[test]
    fn a_rewritten_file_has_another_identity() {
        let folder = tempfile::tempdir().expect("root");
        let root = fs::canonicalize(folder.path()).expect("root");
        fs::write(root.join("a.csv"), "a\n1\n").expect("write");
        let before = file(&root, "a.csv").expect("file");
        assert_eq!(before, file(&root, "a.csv").expect("file"));
        fs::write(root.join("b.csv"), "a\n1\n").expect("write");
        fs::rename(root.join("b.csv"), root.join("a.csv")).expect("rename");
        let after = file(&root, "a.csv").expect("file");
        assert_ne!(before, after);
        assert_ne!(fingerprint(&[before]), fingerprint(&[after]));
    }
}
