//! `system.audit`: the record as a table, read from the log itself, so there is nothing that could drift from it.
//!
//! INVARIANT: shows stored entries as they are; a damaged one ends the query, it is never skipped.
//!
//! Batches of 8,192 rows are made on a blocking thread, one ahead of the reader; parsing costs some 5 µs an entry.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use catalog::{Binding, Classification, DepartmentId, Item, ItemType, Resource, ResourceName, SharingClass};
use datafusion::arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};

use super::entry::Entry;
use super::state::Entries;
use super::{Log, ReadError};

const BATCH_ROWS: usize = 8192;

/// One column: name, title for people, and where its value comes from.
struct Column {
    name: &'static str,
    title: &'static str,
    value: Value,
}

enum Value {
    Index,
    Time,
    Text(fn(&Entry) -> String),
    Number(fn(&Entry) -> Option<u64>),
}

const fn text(name: &'static str, title: &'static str, value: fn(&Entry) -> String) -> Column {
    Column { name, title, value: Value::Text(value) }
}

const fn number(name: &'static str, title: &'static str, value: fn(&Entry) -> Option<u64>) -> Column {
    Column { name, title, value: Value::Number(value) }
}

/// Names are those of the entry's JSON, but for `case`, which SQL keeps for itself.
const COLUMNS: [Column; 28] = [
    Column { name: "index", title: "Index in the log", value: Value::Index },
    Column { name: "time", title: "Time", value: Value::Time },
    text("kind", "Kind of entry", |entry| entry.draft.kind.as_str().to_owned()),
    text("receipt", "Receipt id", |entry| entry.draft.receipt.to_string()),
    text("account", "Account", |entry| entry.draft.account.clone()),
    text("department", "Department", |entry| entry.draft.department.clone()),
    text("account_kind", "Kind of account", |entry| entry.draft.account_kind.clone()),
    text("purpose", "Purpose", |entry| entry.draft.purpose.clone()),
    text("case_digest", "Keyed digest of the case", |entry| entry.draft.case.clone()),
    text("standing", "Who stands behind the call", |entry| entry.draft.standing.clone()),
    text("channel", "Channel", |entry| entry.draft.channel.clone()),
    text("grants", "Grants with version", |entry| entry.draft.grants.join(",")),
    text("rules", "Policy version", |entry| entry.draft.rules.clone()),
    text("operation", "Operation", |entry| entry.draft.operation.clone()),
    text("resources", "Resources with version", |entry| entry.draft.resources.join(",")),
    text("items", "Items", |entry| entry.draft.items.join(",")),
    text("shape", "Statement shape", |entry| entry.draft.shape.clone()),
    text("subjects", "Keyed digests of data subjects", |entry| entry.draft.subjects.join(",")),
    number("rows", "Rows", |entry| entry.draft.rows),
    number("bytes", "Bytes", |entry| entry.draft.bytes),
    number("status", "HTTP status", |entry| entry.draft.status),
    text("code", "Outcome", |entry| entry.draft.code.clone()),
    text("reasons", "Rules that refused", |entry| entry.draft.reasons.join(",")),
    text("commitment", "Commitment to the answer", |entry| entry.draft.commitment.clone()),
    text("side", "Hash of the sealed side object", |entry| entry.side.clone()),
    text("payload", "Hash of the signed text", |entry| entry.draft.payload.clone()),
    number("opened_index", "Index of the stream's intent", |entry| entry.draft.opened_index),
    number("store_revision", "Store revision", |entry| entry.draft.store_revision),
];

/// The catalogue entry of `system.audit`; bound to the log, not to a source.
pub fn audit_resource() -> Resource {
    let items = COLUMNS.iter().map(|column| Item {
        name: column.name.to_owned(),
        title: column.title.to_owned(),
        item_type: match column.value {
            Value::Time => ItemType::Timestamp,
            Value::Index | Value::Number(_) => ItemType::Integer,
            Value::Text(_) => ItemType::Text,
        },
        column: None,
        key: false,
        classification: Classification::General,
        class: None,
        derived_from: None,
    });
    Resource {
        name: ResourceName("system.audit".to_owned()),
        title: "The record".to_owned(),
        summary: "Every answer, refusal and act of this hub, as a table".to_owned(),
        provider: DepartmentId("hub".to_owned()),
        class: SharingClass::Conditional,
        condition: Some("reviewers, for purpose `audit`".to_owned()),
        legal_basis: None,
        update_cycle: "real_time".to_owned(),
        items: items.collect(),
        never_join: Vec::new(),
        binding: Binding::Unmounted,
    }
}

/// The log as a DataFusion table; filters are the engine's.
#[derive(Debug)]
pub struct AuditTable {
    log: Log,
    schema: SchemaRef,
}

impl AuditTable {
    pub fn new(log: Log) -> Self {
        Self { log, schema: audit_resource().schema() }
    }
}

#[async_trait]
impl TableProvider for AuditTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        // Judged once more above: here they only spare reading.
        let answer = |filter: &&Expr| match bounded(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let columns: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..COLUMNS.len()).collect(),
        };
        let schema: SchemaRef = Arc::new(self.schema.project(&columns)?);
        let wanted = filters
            .iter()
            .filter_map(bounded)
            .fold(0..u64::MAX, |all, one| all.start.max(one.start)..all.end.min(one.end));
        let part = Arc::new(Part { log: self.log.clone(), schema: schema.clone(), columns, wanted });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![part], None, [], false, limit)?))
    }
}

/// The indexes that a comparison of `index` with a number leaves; a reviewer of a long record names a part of it.
fn bounded(filter: &Expr) -> Option<Range<u64>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (column, op, literal) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(literal, _)) => (column, *op, literal),
        (Expr::Literal(literal, _), Expr::Column(column)) => (column, op.swap()?, literal),
        _ => return None,
    };
    let (true, ScalarValue::Int64(Some(number))) = (column.name == "index", literal) else { return None };
    let at = |number: i64| u64::try_from(number).unwrap_or(0);
    let after = number.saturating_add(1);
    match op {
        Operator::Eq => Some(at(*number)..at(after)),
        Operator::Gt => Some(at(after)..u64::MAX),
        Operator::GtEq => Some(at(*number)..u64::MAX),
        Operator::Lt => Some(0..at(*number)),
        Operator::LtEq => Some(0..at(after)),
        _ => None,
    }
}

/// Entries of a range, with the wanted columns.
struct Part {
    log: Log,
    schema: SchemaRef,
    columns: Vec<usize>,
    wanted: Range<u64>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("system.audit")
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let maker = Maker {
            entries: self.log.entries(self.wanted.clone()),
            schema: self.schema.clone(),
            columns: self.columns.clone(),
        };
        let batches = futures::stream::try_unfold(maker, |mut maker| async {
            let made = tokio::task::spawn_blocking(move || maker.batch().map(|batch| (batch, maker)));
            let (batch, maker) = made.await.map_err(|cause| DataFusionError::External(Box::new(cause)))??;
            Ok(batch.map(|batch| (batch, maker)))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

struct Maker {
    entries: Entries,
    schema: SchemaRef,
    columns: Vec<usize>,
}

impl Maker {
    /// The next batch, or none after the last entry.
    fn batch(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        for entry in self.entries.by_ref().take(BATCH_ROWS) {
            let (index, bytes) = entry.map_err(external)?;
            rows.push((index, Entry::parse(&bytes).map_err(|_| external(ReadError::Damaged(index)))?));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let columns =
            self.columns.iter().filter_map(|at| COLUMNS.get(*at)).map(|column| array(column, &rows));
        // A count needs no column at all, but still the number of rows.
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options)?))
    }
}

fn external(cause: ReadError) -> DataFusionError {
    DataFusionError::External(Box::new(cause))
}

fn array(column: &Column, rows: &[(u64, Entry)]) -> ArrayRef {
    // Entries hold integers below 2^53 only.
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match column.value {
        Value::Index => {
            let mut builder = Int64Builder::with_capacity(rows.len());
            rows.iter().for_each(|(index, _)| builder.append_value(signed(*index)));
            Arc::new(builder.finish())
        }
        Value::Time => {
            let mut builder = TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
            rows.iter().for_each(|(_, entry)| builder.append_value(signed(entry.time_us())));
            Arc::new(builder.finish())
        }
        Value::Number(value) => {
            let mut builder = Int64Builder::with_capacity(rows.len());
            rows.iter().for_each(|(_, entry)| builder.append_option(value(entry).map(signed)));
            Arc::new(builder.finish())
        }
        Value::Text(value) => {
            let mut builder = StringBuilder::new();
            for (_, entry) in rows {
                let text = value(entry);
                builder.append_option((!text.is_empty()).then_some(text));
            }
            Arc::new(builder.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn a_comparison_of_the_index_reads_a_part_only() {
        let check =
            |filter: Expr, expect: Option<Range<u64>>| assert_eq!(bounded(&filter), expect, "{filter}");
        check(col("index").gt_eq(lit(5_i64)), Some(5..u64::MAX));
        check(col("index").gt(lit(5_i64)), Some(6..u64::MAX));
        check(col("index").lt(lit(5_i64)), Some(0..5));
        check(lit(5_i64).gt_eq(col("index")), Some(0..6));
        check(col("index").eq(lit(5_i64)), Some(5..6));
        check(col("index").eq(lit(-5_i64)), Some(0..0));
        check(col("index").gt(lit(-5_i64)), Some(0..u64::MAX));
        check(col("index").not_eq(lit(5_i64)), None);
        check(col("rows").gt(lit(5_i64)), None);
        check(col("index").gt(lit("5")), None);
    }
}
