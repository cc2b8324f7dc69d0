//! The published form of the log: C2SP tlog-tiles files that any static server can hand out.
//!
//! INVARIANT: a complete tile or bundle never changes; the checkpoint is replaced only when all its tiles are durable.
//! INVARIANT: names outside `checkpoint`, `tile/` and `side/` are never read, whatever a caller asks.
//!
//! Layout (<https://c2sp.org/tlog-tiles>): `tile/<L>/<N>[.p/<W>]` hash tiles, `tile/entries/<N>[.p/<W>]` bundles of
//! u16-length-prefixed entries. Sealed side objects lie beside them in `side/<N>[.p/<W>]`, u32-length-prefixed, one per
//! entry and empty for none: a file per object would be 86 million files a day at 1,000 calls a second.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tlog_tiles::Hash;

use super::disk::{Disk, write_whole};
use super::segment::Stored;
use super::tree::{Edge, FullTiles, HEIGHT, WIDTH};

/// A side object with what sealing adds to it.
const SEALED_BYTES_MAX: u64 = super::SIDE_BYTES_MAX as u64 + 64;

/// Which kind of file, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Hashes(u8),
    Entries,
    Sides,
}

impl Class {
    /// The longest file of its kind: 256 hashes, entries or sealed side objects.
    fn bytes_max(self) -> u64 {
        let each = match self {
            Self::Hashes(_) => 32,
            Self::Entries => 2 + super::ENTRY_BYTES_MAX as u64,
            Self::Sides => 4 + SEALED_BYTES_MAX,
        };
        WIDTH * each
    }
}

/// A published file: its class, number and width (1 to 256; 256 is complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub class: Class,
    pub n: u64,
    pub width: u64,
}

impl Name {
    /// Like `tlog_tiles::Tile::path`, which says `tile/8/<L>/…` and `tile/8/data/…`; C2SP leaves the height out and says `entries`.
    pub fn path(self) -> String {
        let mut place = format!("{:03}", self.n % 1000);
        let mut rest = self.n / 1000;
        while rest > 0 {
            place = format!("x{:03}/{place}", rest % 1000);
            rest /= 1000;
        }
        if self.width < WIDTH {
            place = format!("{place}.p/{}", self.width);
        }
        match self.class {
            Class::Hashes(level) => format!("tile/{level}/{place}"),
            Class::Entries => format!("tile/entries/{place}"),
            Class::Sides => format!("side/{place}"),
        }
    }

    /// The name of a path in exactly the form that [`Self::path`] gives.
    pub fn parse(path: &str) -> Option<Self> {
        let (class, place) = if let Some(place) = path.strip_prefix("side/") {
            (Class::Sides, place)
        } else {
            let (class, place) = path.strip_prefix("tile/")?.split_once('/')?;
            let class = if class == "entries" {
                Class::Entries
            } else {
                Class::Hashes(class.parse().ok().filter(|level| *level < HEIGHT)?)
            };
            (class, place)
        };
        // Not `tlog_tiles::Tile::from_path`: it panics on a width of 0, and paths come from outside.
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => (place, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (place, WIDTH),
        };
        let mut n = 0_u64;
        for digits in place.split('/') {
            let digits: u64 = digits.trim_start_matches('x').parse().ok().filter(|digits| *digits < 1000)?;
            n = n.checked_mul(1000)?.checked_add(digits)?;
        }
        // 2^48 tiles are more entries than a number may have.
        let name = Self { class, n, width };
        (n < 1 << 48 && name.path() == path).then_some(name)
    }
}

/// Entries from a multiple of 256 to the end of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    pub start: u64,
    pub stored: Vec<Arc<Stored>>,
}

impl Tail {
    pub fn get(&self, index: u64) -> Option<&Arc<Stored>> {
        self.stored.get(usize::try_from(index.checked_sub(self.start)?).ok()?)
    }

    /// Up to 256 entries of bundle `n`, when it is in memory.
    pub fn bundle(&self, n: u64) -> Option<Vec<Arc<Stored>>> {
        let from = usize::try_from((n * WIDTH).checked_sub(self.start)?).ok()?;
        Some(self.stored.iter().skip(from).take(WIDTH as usize).cloned().collect())
    }

    pub fn forget(&mut self, published: u64) {
        let complete = published / WIDTH * WIDTH;
        let gone = usize::try_from(complete.saturating_sub(self.start)).unwrap_or(0);
        self.stored.drain(..gone.min(self.stored.len()));
        self.start = self.start.max(complete);
    }
}

pub(crate) fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

pub(crate) fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

pub(crate) fn encode_entries(stored: &[Arc<Stored>]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in stored {
        out.extend_from_slice(&u16::try_from(one.entry.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&one.entry);
    }
    out
}

pub(crate) fn decode_entries(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

/// `None` when no entry of the bundle has a side object: then there is no file.
pub(crate) fn encode_sides(stored: &[Arc<Stored>]) -> Option<Vec<u8>> {
    stored.iter().any(|one| one.side.is_some()).then(|| {
        let mut out = Vec::new();
        for one in stored {
            let side = one.side.as_deref().unwrap_or_default();
            out.extend_from_slice(&u32::try_from(side.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(side);
        }
        out
    })
}

pub(crate) fn decode_sides(mut bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut sides = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (side, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        sides.push((!side.is_empty()).then(|| side.to_vec()));
        bytes = rest;
    }
    bytes.is_empty().then_some(sides)
}

/// Reading side of the published files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub dir: PathBuf,
}

impl Files {
    pub fn read(&self, name: Name) -> io::Result<Vec<u8>> {
        read_regular(&self.dir.join(name.path()), name.class.bytes_max())
    }

    pub fn hashes(&self, level: u8, n: u64, width: u64) -> io::Result<Vec<Hash>> {
        let bytes = self.read(Name { class: Class::Hashes(level), n, width })?;
        decode_hashes(&bytes)
            .filter(|hashes| hashes.len() as u64 == width)
            .ok_or_else(|| damaged("hash tile"))
    }

    /// Entries and their side objects of one bundle.
    pub fn bundle(&self, n: u64, width: u64) -> io::Result<Vec<Stored>> {
        let entries = self.entries(n, width)?;
        let sides = match self.read(Name { class: Class::Sides, n, width }) {
            Ok(bytes) => decode_sides(&bytes).filter(|sides| sides.len() as u64 == width),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Some(vec![None; entries.len()]),
            Err(cause) => return Err(cause),
        };
        let sides = sides.ok_or_else(|| damaged("side bundle"))?;
        Ok(entries.into_iter().zip(sides).map(|(entry, side)| Stored { entry, side }).collect())
    }

    pub fn entries(&self, n: u64, width: u64) -> io::Result<Vec<Vec<u8>>> {
        let bytes = self.read(Name { class: Class::Entries, n, width })?;
        decode_entries(&bytes)
            .filter(|entries| entries.len() as u64 == width)
            .ok_or_else(|| damaged("bundle"))
    }
}

impl FullTiles for Files {
    fn full_tile(&self, level: u8, n: u64) -> io::Result<Vec<Hash>> {
        self.hashes(level, n, WIDTH)
    }
}

/// A file of a folder that may be anybody's: a pipe, a device or a file without end is damage, not something to wait for.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if found.is_file() && found.len() <= bytes_max { fs::read(path) } else { Err(damaged("file")) }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a {what} of the record has a wrong length: run `tongqu verify`"),
    )
}

/// Files to write for a tree that grew from `published` to the edge's size.
pub(crate) fn to_publish(edge: &Edge, tail: &Tail, published: u64) -> Vec<(Name, Vec<u8>)> {
    let mut files = Vec::new();
    let mut before = published;
    for (at, level) in edge.levels.iter().enumerate() {
        let class = Class::Hashes(u8::try_from(at).unwrap_or(u8::MAX));
        if level.count() != before {
            for (place, hashes) in level.hashes.chunks(WIDTH as usize).enumerate() {
                let name = Name { class, n: level.start / WIDTH + place as u64, width: hashes.len() as u64 };
                files.push((name, encode_hashes(hashes)));
            }
        }
        before /= WIDTH;
    }
    if edge.size() != published {
        for (place, stored) in tail.stored.chunks(WIDTH as usize).enumerate() {
            let (n, width) = (tail.start / WIDTH + place as u64, stored.len() as u64);
            files.push((Name { class: Class::Entries, n, width }, encode_entries(stored)));
            if let Some(sides) = encode_sides(stored) {
                files.push((Name { class: Class::Sides, n, width }, sides));
            }
        }
    }
    files
}

/// Writes published files durably and remembers what it may skip.
#[derive(Default)]
pub(crate) struct Publisher {
    /// Folders whose name is known durable in their parent.
    durable_dirs: BTreeSet<PathBuf>,
    /// Partial files that a later checkpoint made superfluous.
    stale: Vec<PathBuf>,
    /// Partial files of the last checkpoint.
    partial: Vec<Name>,
}

impl Publisher {
    /// Partial files that exist when the log is opened.
    pub fn starting_with(partial: Vec<Name>) -> Self {
        Self { partial, ..Self::default() }
    }

    /// All files, then the checkpoint; on error everything may be written again.
    pub fn publish(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        files: &[(Name, Vec<u8>)],
        checkpoint: &[u8],
    ) -> io::Result<()> {
        let written = self.write(disk, dir, files, checkpoint);
        if written.is_err() {
            self.durable_dirs.clear();
            return written;
        }
        let (kept, gone): (Vec<Name>, Vec<Name>) = self
            .partial
            .iter()
            .partition(|old| !files.iter().any(|(new, _)| (new.class, new.n) == (old.class, old.n)));
        self.stale.extend(
            gone.iter()
                .filter(|old| !files.iter().any(|(new, _)| new == *old))
                .map(|old| dir.join(old.path())),
        );
        self.partial = kept;
        self.partial.extend(files.iter().map(|(name, _)| *name).filter(|name| name.width < WIDTH));
        self.sweep(disk);
        Ok(())
    }

    fn write(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        files: &[(Name, Vec<u8>)],
        checkpoint: &[u8],
    ) -> io::Result<()> {
        let mut touched = BTreeSet::new();
        for (name, bytes) in files {
            let path = dir.join(name.path());
            if let Some(parent) = path.parent() {
                self.make_dirs(disk, dir, parent)?;
                touched.insert(parent.to_owned());
            }
            write_whole(disk, &path, bytes)?;
        }
        for folder in &touched {
            disk.sync_dir(folder)?;
        }
        write_whole(disk, &dir.join("checkpoint"), checkpoint)?;
        disk.sync_dir(dir)
    }

    fn make_dirs(&mut self, disk: &dyn Disk, dir: &Path, folder: &Path) -> io::Result<()> {
        if self.durable_dirs.contains(folder) {
            return Ok(());
        }
        disk.make_dir(folder)?;
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(dir)) {
            disk.sync_dir(above)?;
        }
        // Each tile has its own folder for partial files; remembering them all would grow for ever.
        if self.durable_dirs.len() > 1000 {
            self.durable_dirs.clear();
        }
        self.durable_dirs.insert(folder.to_owned());
        Ok(())
    }

    /// Removes stale partial files; one that resists is tried again after the next checkpoint.
    fn sweep(&mut self, disk: &dyn Disk) {
        self.stale.retain(|path| {
            if path.exists() && disk.remove(path).is_err() {
                return true;
            }
            if let Some(folder) = path.parent() {
                // Fails, as it should, while a newer partial file is in it.
                if fs::remove_dir(folder).is_ok() {
                    self.durable_dirs.remove(folder);
                }
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_c2sp() {
        for (class, n, width, expect) in [
            (Class::Hashes(0), 0, 256, "tile/0/000"),
            (Class::Hashes(0), 273, 112, "tile/0/273.p/112"),
            (Class::Hashes(2), 1_234_067, 256, "tile/2/x001/x234/067"),
            (Class::Entries, 1000, 1, "tile/entries/x001/000.p/1"),
            (Class::Sides, 5, 256, "side/005"),
        ] {
            let name = Name { class, n, width };
            let theirs = tlog_tiles::Tile::new(HEIGHT, 0, n, u32::try_from(width).unwrap(), true).path();
            assert!(expect.ends_with(theirs.strip_prefix("tile/8/data/").unwrap()));
            assert_eq!(name.path(), expect);
            assert_eq!(Name::parse(expect), Some(name));
        }
    }

    #[test]
    fn other_paths_are_no_names() {
        for path in [
            "",
            "checkpoint",
            "tile/0/",
            "tile/0/0",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/8/000",
            "tile/00/000",
            "tile/+1/000",
            "tile/8/data/000",
            "tile/data/000",
            "tile/0/../0/000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/001/x000",
            "tile/entries/1000",
            "side/../keys/log.key",
            "side/..%2f",
            "tile/0/000.p/01",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "side/x000/000",
        ] {
            assert_eq!(Name::parse(path), None, "{path}");
        }
    }

    #[test]
    fn bundles_read_back() {
        let one = |entry: &[u8], side: Option<&[u8]>| {
            Arc::new(Stored { entry: entry.to_vec(), side: side.map(<[u8]>::to_vec) })
        };
        let stored = [one(b"a", None), one(b"", Some(b"xyz")), one(&[7; 2048], None)];
        let entries = decode_entries(&encode_entries(&stored)).unwrap();
        assert_eq!(entries, [b"a".to_vec(), Vec::new(), vec![7; 2048]]);
        let sides = decode_sides(&encode_sides(&stored).unwrap()).unwrap();
        assert_eq!(sides, [None, Some(b"xyz".to_vec()), None]);
        assert_eq!(encode_sides(&stored[..1]), None);
        for cut in [1, 2, 4] {
            assert_eq!(decode_entries(&encode_entries(&stored)[..cut]), None, "{cut}");
        }
        assert_eq!(decode_hashes(&[0; 33]).map(|hashes| hashes.len()), None);
    }
}
