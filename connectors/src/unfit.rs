//! How many cells did not fit their declared type, counted for the provider.

use std::sync::atomic::{AtomicU64, Ordering};

use catalog::Resource;

/// Cells of one item that read null because they did not fit, since the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfitCount {
    pub item: String,
    /// Every reading counts: a cell read by two scans counts twice.
    pub cells: u64,
}

#[derive(Debug)]
pub(crate) struct Unfit {
    items: Vec<(String, AtomicU64)>,
    ragged_rows: AtomicU64,
}

impl Unfit {
    pub(crate) fn new(resource: &Resource) -> Self {
        let items = resource.items.iter();
        Self {
            items: items.map(|item| (item.name.clone(), AtomicU64::new(0))).collect(),
            ragged_rows: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, item: usize, cells: u64) {
        if cells > 0
            && let Some((_, count)) = self.items.get(item)
        {
            count.fetch_add(cells, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_ragged(&self, rows: u64) {
        self.ragged_rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Vec<UnfitCount> {
        self.items
            .iter()
            .map(|(item, count)| UnfitCount { item: item.clone(), cells: count.load(Ordering::Relaxed) })
            .filter(|count| count.cells > 0)
            .collect()
    }

    pub(crate) fn ragged_rows(&self) -> u64 {
        self.ragged_rows.load(Ordering::Relaxed)
    }
}
