//! The ceilings a source is read under: every list, line, file count and wait has one.

/// Ceilings, from the configuration; the defaults suit a hub on one machine.
#[derive(Debug, Clone)]
pub struct SourceLimits {
    /// Files in one folder binding.
    pub files_max: usize,
    /// Columns of one source.
    pub columns_max: usize,
    /// One CSV line, one JSON record, one cell of a SQLite table or of Parquet, the text of one row of an Arrow file.
    pub line_bytes_max: usize,
    /// Footer of one Parquet or Arrow file, metadata of one Arrow message.
    pub footer_bytes_max: u64,
    /// One Parquet row group, uncompressed (a page that unpacks 1:10^5 declares it here).
    pub row_group_bytes_max: u64,
    /// One record batch or all dictionaries of one Arrow file, uncompressed; a reader holds both.
    pub arrow_batch_bytes_max: usize,
    /// For how long files that were looked at count as unchanged; 0 looks at every call.
    pub fresh_ms: u64,
    /// Keys in one look-up.
    pub lookup_keys_max: usize,
    /// Rows found by one look-up.
    pub lookup_rows_max: usize,
    /// Rows of files that can be looked up in.
    pub index_rows_max: u64,
    /// Rows sorted in memory at once while an index is built (16 bytes each).
    pub index_run_rows: usize,
    /// One statement on a department's database, rows fetched included.
    pub statement_ms_max: u64,
    /// Wait for a lock held by the department's own programs.
    pub busy_ms_max: u64,
    /// Connections to one department's database.
    pub connections_max: u32,
    /// Mounts kept open.
    pub mounts_max: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            files_max: 1_024,
            columns_max: 1_024,
            line_bytes_max: 1 << 20,
            footer_bytes_max: 256 << 20,
            row_group_bytes_max: 8 << 30,
            arrow_batch_bytes_max: 128 << 20,
            fresh_ms: 0,
            lookup_keys_max: 10_000,
            lookup_rows_max: 100_000,
            index_rows_max: 1_000_000_000,
            index_run_rows: 4 << 20,
            statement_ms_max: 60_000,
            busy_ms_max: 2_000,
            connections_max: 4,
            mounts_max: 4_096,
        }
    }
}
