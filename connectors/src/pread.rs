//! Reads at a position: at once from the page cache, or with the patience of a thread that may wait for the disk.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
};

use rustix::io::{ReadWriteFlags, preadv2};

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Only what is in memory already (`RWF_NOWAIT`), so that it can run on a thread that serves others.
    Cached,
    Wait,
}

/// Fills `into` from `at`; none when that would wait and must not.
pub(crate) fn read_exact(
    file: &File,
    into: &mut [u8],
    at: u64,
    patience: Patience,
) -> io::Result<Option<()>> {
    match patience {
        Patience::Wait => file.read_exact_at(into, at).map(Some),
        Patience::Cached => {
            let bytes = into.len();
            // Whatever is wrong, the patient read tells it properly.
            let read = preadv2(file, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT).ok();
            Ok(read.filter(|read| *read == bytes).map(drop))
        }
    }
}
