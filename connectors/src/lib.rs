//! Where the bytes are: a `Binding` in, an Arrow `TableProvider` and a keyed look-up out.
//!
//! INVARIANT: no error text, plan text or metric of this crate carries a cell, a key or an absolute path.
//! INVARIANT: a source is only ever read; nothing of it is held in memory beyond the batches in flight.

mod arrow_files;
mod cells;
mod csv_files;
mod csv_records;
mod error;
mod fit;
mod json_files;
mod json_record;
mod json_records;
mod key;
mod key_index;
mod keyed_rows;
mod limits;
mod parquet_files;
mod parse;
mod place;
mod plan;
mod postgres_table;
mod pread;
mod predicate;
mod row_store;
mod scanned;
mod scratch;
mod source_column;
mod sources;
mod sqlite_table;
mod table;
#[cfg(test)]
mod tests;
mod text_batch;
mod unfit;

pub use error::{Cause, SourceError};
pub use key::LookupRows;
pub use limits::SourceLimits;
pub use postgres_table::{PostgresConnection, PostgresTls};
pub use sources::{Mounted, Source, Sources};
pub use unfit::UnfitCount;
