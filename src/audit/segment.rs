//! The write-ahead segment: what was appended but is not yet in tiles, in frames that say where they belong.
//!
//! INVARIANT: a frame's checksum covers the segment's start and the frame's own place, so no frame can be replayed elsewhere.
//! INVARIANT: every batch starts with a mark saying how far the file was durable before; a bad frame with a sound
//! mark behind it is damage and refuses, a bad frame with none behind it is the torn tail of the last batch and is cut.
//!
//! Frame: length of the body (u32), kind (u8), 8 bytes of SHA-256, body; numbers big-endian. At 1,000 calls a second
//! of 1 KB each a segment holds about four seconds before it is replaced (4 MiB) and is replayed in well under a second.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::disk::{Disk, DiskFile};
use crate::crypto::sha256;

const HEAD_LEN: usize = 13;
/// Marks are found by this text behind damage.
const MARK: &[u8; 16] = b"tongqu-mark-v1:\n";
const HEADER: &str = "tongqu-segment 1";
/// A frame longer than this is damage.
const BODY_MAX: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum FrameKind {
    Header = 1,
    Mark = 2,
    /// A sealed side object; it belongs to the entry that follows.
    Side = 3,
    Entry = 4,
}

/// An entry's bytes and its sealed side object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub entry: Vec<u8>,
    pub side: Option<Vec<u8>>,
}

/// `segment/<first index>-<attempt>.wal`, both zero-padded so that names sort.
pub(crate) fn file_name(first: u64, attempt: u32) -> String {
    format!("{first:020}-{attempt:06}.wal")
}

pub(crate) fn parse_file_name(name: &str) -> Option<(u64, u32)> {
    let (first, attempt) = name.strip_suffix(".wal")?.split_once('-')?;
    let parsed = (first.parse().ok()?, attempt.parse().ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// A segment being appended to.
pub(crate) struct Segment {
    file: Box<dyn DiskFile>,
    pub path: PathBuf,
    first: u64,
    /// Bytes known durable; only these count.
    pub durable_len: u64,
    batch: Vec<u8>,
}

impl Segment {
    /// Makes a new segment durable, name included, before anything is appended to it.
    pub fn create(disk: &dyn Disk, dir: &Path, first: u64, attempt: u32, origin: &str) -> io::Result<Self> {
        let path = dir.join(file_name(first, attempt));
        let mut file = disk.create(&path)?;
        let mut batch = Vec::new();
        frame(
            &mut batch,
            0,
            first,
            FrameKind::Header,
            &[format!("{HEADER}\n{origin}\n{first}\n").as_bytes()],
        );
        file.append(&batch)?;
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok(Self { file, path, first, durable_len: batch.len() as u64, batch: Vec::new() })
    }

    /// Appends the batch and makes it durable with one sync. After an error the segment must be given up.
    pub fn append<'a>(&mut self, stored: impl Iterator<Item = &'a Stored>) -> io::Result<()> {
        self.batch.clear();
        let base = self.durable_len;
        frame(&mut self.batch, base, self.first, FrameKind::Mark, &[MARK, &base.to_be_bytes()]);
        for one in stored {
            if let Some(side) = &one.side {
                frame(&mut self.batch, base, self.first, FrameKind::Side, &[side]);
            }
            frame(&mut self.batch, base, self.first, FrameKind::Entry, &[&one.entry]);
        }
        self.file.append(&self.batch)?;
        self.file.sync()?;
        self.durable_len += self.batch.len() as u64;
        Ok(())
    }

    /// Gives space back after a failed append; what happens to the bytes does not matter any more.
    pub fn give_up(&mut self) {
        let _ = self.file.truncate(self.durable_len);
    }
}

fn frame(out: &mut Vec<u8>, base: u64, first: u64, kind: FrameKind, body: &[&[u8]]) {
    let offset = base + out.len() as u64;
    let len: usize = body.iter().map(|part| part.len()).sum();
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&checksum(first, offset, kind as u8, body));
    for part in body {
        out.extend_from_slice(part);
    }
}

fn checksum(first: u64, offset: u64, kind: u8, body: &[&[u8]]) -> [u8; 8] {
    let (first, offset) = (first.to_be_bytes(), offset.to_be_bytes());
    let mut parts: Vec<&[u8]> = vec![&first, &offset, std::slice::from_ref(&kind)];
    parts.extend_from_slice(body);
    let mut short = [0; 8];
    for (to, from) in short.iter_mut().zip(sha256(&parts)) {
        *to = from;
    }
    short
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    #[error("its header is not one of this log: restore the folder from a copy")]
    Header,
    #[error("it is damaged at byte {0}, before entries known to be durable: restore the folder from a copy")]
    Damaged(u64),
}

/// A segment as read back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    pub entries: Vec<Stored>,
    /// Bytes of a torn tail, not part of the record.
    pub cut_bytes: u64,
}

/// Reads a segment's bytes; `first` comes from its name.
pub(crate) fn replay(bytes: &[u8], first: u64, origin: &str) -> Result<Replay, SegmentError> {
    let mut replay = Replay::default();
    let mut offset = 0;
    let wanted = format!("{HEADER}\n{origin}\n{first}\n");
    let Some((FrameKind::Header, header)) = read_frame(bytes, 0, first) else {
        // A header is durable before the first batch, so one that is torn has nothing behind it.
        if bytes.len() > HEAD_LEN + wanted.len() {
            return Err(SegmentError::Damaged(0));
        }
        replay.cut_bytes = bytes.len() as u64;
        return Ok(replay);
    };
    if header != wanted.as_bytes() {
        return Err(SegmentError::Header);
    }
    offset += HEAD_LEN + header.len();
    let mut sound = offset;
    let mut side = None;
    while offset < bytes.len() {
        let Some((kind, body)) = read_frame(bytes, offset, first) else {
            return torn(replay, bytes, sound, first);
        };
        offset += HEAD_LEN + body.len();
        match kind {
            FrameKind::Side if side.is_none() => side = Some(body.to_vec()),
            FrameKind::Entry => {
                replay.entries.push(Stored { entry: body.to_vec(), side: side.take() });
                sound = offset;
            }
            FrameKind::Mark if side.is_none() => sound = offset,
            _ => return Err(SegmentError::Damaged(offset as u64)),
        }
    }
    if side.is_some() {
        return torn(replay, bytes, sound, first);
    }
    Ok(replay)
}

/// What follows `sound` is a torn tail, unless a later batch says that it was durable.
fn torn(mut replay: Replay, bytes: &[u8], sound: usize, first: u64) -> Result<Replay, SegmentError> {
    let tail = bytes.get(sound..).unwrap_or_default();
    let known_later = tail.windows(MARK.len()).enumerate().any(|(at, window)| {
        let head = (sound + at).checked_sub(HEAD_LEN);
        window == MARK
            && head.is_some_and(|head| {
                head > sound && matches!(read_frame(bytes, head, first), Some((FrameKind::Mark, _)))
            })
    });
    if known_later {
        return Err(SegmentError::Damaged(sound as u64));
    }
    replay.cut_bytes = tail.len() as u64;
    Ok(replay)
}

fn read_frame(bytes: &[u8], offset: usize, first: u64) -> Option<(FrameKind, &[u8])> {
    let rest = bytes.get(offset..)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (check, rest) = rest.split_first_chunk::<8>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    if len > BODY_MAX {
        return None;
    }
    let body = rest.get(..len)?;
    let known = [FrameKind::Header, FrameKind::Mark, FrameKind::Side, FrameKind::Entry];
    let known = known.into_iter().find(|known| *known as u8 == *kind)?;
    (checksum(first, offset as u64, *kind, &[body]) == *check).then_some((known, body))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    fn stored(n: u8) -> Stored {
        Stored { entry: vec![b'e', n], side: n.is_multiple_of(2).then(|| vec![b's', n]) }
    }

    /// Three batches of two; the offset where each batch begins, and the bytes.
    fn written() -> (Vec<u64>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(&RealDisk, dir.path(), 7, 0, "hub").unwrap();
        let mut starts = Vec::new();
        for batch in 0..3 {
            starts.push(segment.durable_len);
            segment.append([stored(batch * 2), stored(batch * 2 + 1)].iter()).unwrap();
        }
        (starts, std::fs::read(&segment.path).unwrap())
    }

    #[test]
    fn reads_back_what_was_appended() {
        let (_, bytes) = written();
        let replay = replay(&bytes, 7, "hub").unwrap();
        assert_eq!(replay.entries, (0..6).map(stored).collect::<Vec<_>>());
        assert_eq!(replay.cut_bytes, 0);
    }

    #[test]
    fn a_cut_anywhere_leaves_a_prefix() {
        let (_, bytes) = written();
        for len in 0..bytes.len() {
            let replay = replay(&bytes[..len], 7, "hub").unwrap();
            let whole: Vec<_> = (0..6).map(stored).collect();
            assert_eq!(replay.entries, whole[..replay.entries.len()], "cut at {len}");
        }
    }

    #[test]
    fn a_changed_byte_is_damage_when_a_later_batch_stands_and_a_torn_tail_in_the_last() {
        let (starts, bytes) = written();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            let result = replay(&changed, 7, "hub");
            if (at as u64) < starts[2] {
                assert!(result.is_err(), "byte {at}");
            } else {
                let replay = result.unwrap();
                assert!(replay.cut_bytes > 0 && replay.entries.len() >= 4, "byte {at}");
            }
        }
    }

    #[test]
    fn frames_belong_to_their_segment_and_place() {
        let (starts, bytes) = written();
        assert_eq!(replay(&bytes, 7, "other"), Err(SegmentError::Header));
        assert_eq!(replay(&bytes, 8, "hub"), Err(SegmentError::Damaged(0)));
        let mut repeated = bytes.clone();
        repeated.extend_from_slice(&bytes[usize::try_from(starts[2]).unwrap()..]);
        let replay = replay(&repeated, 7, "hub").unwrap();
        assert_eq!((replay.entries.len(), replay.cut_bytes > 0), (6, true));
    }

    #[test]
    fn names() {
        for (name, expect) in [
            ("00000000000000000007-000000.wal", Some((7, 0))),
            ("00000000000000000000-000012.wal", Some((0, 12))),
            ("7-0.wal", None),
            ("00000000000000000007-000000.tmp", None),
            ("+0000000000000000007-000000.wal", None),
        ] {
            assert_eq!(parse_file_name(name), expect, "{name}");
        }
    }
}
