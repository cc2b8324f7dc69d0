//! The RFC 6962 tree over all entries: only its right edge is in memory, the rest is read from complete tiles.
//!
//! INVARIANT: a hash leaves memory only after its complete tile is durable; such a tile never changes.
//!
//! A proof over a million entries is 20 hashes from at most three tiles (24 KiB read, page cache); memory is the
//! unpublished tail and at most 255 hashes per level of 8 (32 KiB for any log).

use std::io;

use tlog_tiles::{EMPTY_HASH, Hash, HashReader, prove_record, split_stored_hash_index};

use crate::crypto::sha256;

/// Hashes per tile.
pub(crate) const WIDTH: u64 = 256;
/// Tree levels per tile level.
pub(crate) const HEIGHT: u8 = 8;
/// No log reaches 256^7 entries.
const LEVELS_MAX: u8 = 7;

pub(crate) fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(sha256(&[&[0], entry]))
}

fn node(left: Hash, right: Hash) -> Hash {
    Hash(sha256(&[&[1], &left.0, &right.0]))
}

/// Root of a complete subtree of 2^k hashes.
pub(crate) fn subtree(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        more => {
            let (left, right) = more.split_at_checked(more.len() / 2)?;
            Some(node(subtree(left)?, subtree(right)?))
        }
    }
}

/// Hashes of one tile level from `start` (a multiple of 256) to the right edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Level {
    pub start: u64,
    pub hashes: Vec<Hash>,
}

impl Level {
    /// Number of hashes of this level in the whole tree.
    pub fn count(&self) -> u64 {
        self.start + self.hashes.len() as u64
    }

    fn range(&self, from: u64, len: u64) -> Option<&[Hash]> {
        let from = usize::try_from(from.checked_sub(self.start)?).ok()?;
        self.hashes.get(from..from.checked_add(usize::try_from(len).ok()?)?)
    }
}

/// The right edge of the tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    pub levels: Vec<Level>,
}

impl Edge {
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, Level::count)
    }

    /// Appends a leaf and the roots of all tiles it completes.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut at = 0;
        loop {
            if self.levels.len() <= at {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(at) else { return };
            level.hashes.push(hash);
            if !level.count().is_multiple_of(WIDTH) {
                return;
            }
            let first = level.count() - WIDTH;
            let Some(root) = level.range(first, WIDTH).and_then(subtree) else { return };
            hash = root;
            at += 1;
        }
    }

    /// Forgets the hashes of complete tiles of a tree of `published` entries, which are durable by now.
    pub fn forget(&mut self, published: u64) {
        let mut count = published;
        for level in &mut self.levels {
            let complete = count / WIDTH * WIDTH;
            if let Ok(gone) = usize::try_from(complete.saturating_sub(level.start)) {
                level.hashes.drain(..gone.min(level.hashes.len()));
                level.start = level.start.max(complete);
            }
            count /= WIDTH;
        }
    }

    /// Root of the whole tree, from memory alone.
    pub fn root(&self) -> Option<Hash> {
        if self.size() == 0 {
            return Some(EMPTY_HASH);
        }
        // The partial tile of each level holds every complete subtree right of the next level's.
        let mut root: Option<Hash> = None;
        for level in &self.levels {
            let mut count = level.count() % WIDTH;
            let mut end = level.count();
            while count > 0 {
                let width = 1 << count.trailing_zeros();
                let hash = subtree(level.range(end - width, width)?)?;
                root = Some(match root {
                    Some(right) => node(hash, right),
                    None => hash,
                });
                end -= width;
                count -= width;
            }
        }
        root
    }

    /// The node at tree level `level` and offset `n`, if its tile is still in memory.
    fn node_at(&self, level: u8, n: u64) -> Option<Hash> {
        let (tile_level, within) = (level / HEIGHT, level % HEIGHT);
        let found = self.levels.get(usize::from(tile_level))?;
        subtree(found.range(n << within, 1 << within)?)
    }
}

/// Reads complete hash tiles.
pub(crate) trait FullTiles {
    /// The 256 hashes of tile `n` at tile level `level`.
    fn full_tile(&self, level: u8, n: u64) -> io::Result<Vec<Hash>>;
}

/// Hashes by their index: memory first, then complete tiles.
pub(crate) struct Hashes<'a, T> {
    pub edge: &'a Edge,
    pub tiles: &'a T,
}

impl<T: FullTiles> Hashes<'_, T> {
    fn one(&self, index: u64) -> io::Result<Hash> {
        let (level, n) = split_stored_hash_index(index);
        if let Some(hash) = self.edge.node_at(level, n) {
            return Ok(hash);
        }
        let (tile_level, within) = (level / HEIGHT, level % HEIGHT);
        let first = n << within;
        if tile_level > LEVELS_MAX {
            return Err(io::Error::other("a hash beyond the top of the tree was asked"));
        }
        let tile = self.tiles.full_tile(tile_level, first / WIDTH)?;
        let from = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        tile.get(from..from.saturating_add(1 << within))
            .and_then(subtree)
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "a tile is shorter than its tree"))
    }

    /// Inclusion proof of entry `index` in the tree of `size` entries.
    pub fn prove(&self, size: u64, index: u64) -> io::Result<Vec<Hash>> {
        prove_record(size, index, self).map_err(io::Error::other)
    }
}

impl<T: FullTiles> HashReader for Hashes<'_, T> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|index| self.one(*index).map_err(|cause| tlog_tiles::Error::InvalidInput(cause.to_string())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ct_merkle::HashableLeaf;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use sha2::Sha256;
    use tlog_tiles::{check_record, tree_hash};

    use super::*;

    #[derive(Clone)]
    struct Leaf(Vec<u8>);

    impl HashableLeaf for Leaf {
        fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
            hasher.update(&self.0);
        }
    }

    #[derive(Default)]
    struct Kept(HashMap<(u8, u64), Vec<Hash>>);

    impl FullTiles for Kept {
        fn full_tile(&self, level: u8, n: u64) -> io::Result<Vec<Hash>> {
            self.0.get(&(level, n)).cloned().ok_or_else(|| io::Error::other("no such tile"))
        }
    }

    /// Moves complete tiles out of the edge, as publishing does.
    fn publish(edge: &mut Edge, kept: &mut Kept) {
        for (at, level) in edge.levels.iter().enumerate() {
            for (n, tile) in level.hashes.chunks_exact(256).enumerate() {
                kept.0.insert((at as u8, level.start / WIDTH + n as u64), tile.to_vec());
            }
        }
        edge.forget(edge.size());
    }

    #[test]
    fn roots_and_proofs_agree_with_an_independent_tree() {
        let mut edge = Edge::default();
        let mut kept = Kept::default();
        let mut other = MemoryBackedTree::<Sha256, Leaf>::new();
        assert_eq!(edge.root().unwrap().0, other.root().as_bytes().as_slice());
        for size in 1_u64..=1100 {
            let entry = size.to_be_bytes().to_vec();
            edge.push(leaf_hash(&entry));
            other.push(Leaf(entry));
            if size % 100 == 0 {
                publish(&mut edge, &mut kept);
            }
            let root = edge.root().unwrap();
            assert_eq!(root.0, other.root().as_bytes().as_slice(), "size {size}");
            if [1, 2, 255, 256, 257, 511, 512, 513, 1000, 1100].contains(&size) {
                let hashes = Hashes { edge: &edge, tiles: &kept };
                assert_eq!(tree_hash(size, &hashes).unwrap(), root);
                for index in 0..size {
                    let proof = hashes.prove(size, index).unwrap();
                    let leaf = leaf_hash(&(index + 1).to_be_bytes());
                    check_record(&proof, size, root, index, leaf).unwrap();
                    let theirs = other.prove_inclusion(index as usize);
                    assert_eq!(theirs.as_bytes(), proof.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
                }
            }
        }
    }
}
