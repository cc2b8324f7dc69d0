//! Keys of a look-up: what was asked, in the item's own type, and the rows whose key reads back as one of them.
//!
//! INVARIANT: a row is answered only when the key in it equals a key asked; white space around either is ignored, nothing else.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, UInt64Array,
    },
    compute::{concat_batches, take, take_record_batch},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
    },
};
use catalog::ItemType;
use twox_hash::XxHash64;

use crate::{SourceError, SourceLimits, fit, parse};

/// Rows found by keys: `key_index[i]` says which of the asked keys row `i` of `rows` belongs to; ordered by key asked,
/// then as in the source. A key asked twice has its rows twice.
#[derive(Debug, Clone)]
pub struct LookupRows {
    /// The asked columns, in the order asked, as in the resource's schema.
    pub rows: RecordBatch,
    pub key_index: Vec<u32>,
}

/// Item types a key can have.
pub(crate) fn can_be_key(item: ItemType) -> bool {
    !matches!(item, ItemType::Boolean | ItemType::Binary | ItemType::Float)
}

/// The key in one cell as bytes that are equal exactly when the keys are; none for null and for an empty text.
pub(crate) fn key_bytes(column: &dyn Array, row: usize) -> Option<Cow<'_, [u8]>> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => {
            let text = parse::trimmed(column.as_string::<i32>().value(row));
            (!text.is_empty()).then_some(Cow::Borrowed(text.as_bytes()))
        }
        DataType::Int64 => {
            Some(Cow::Owned(column.as_primitive::<Int64Type>().value(row).to_le_bytes().to_vec()))
        }
        DataType::Date32 => {
            Some(Cow::Owned(column.as_primitive::<Date32Type>().value(row).to_le_bytes().to_vec()))
        }
        DataType::Decimal128(..) => {
            Some(Cow::Owned(column.as_primitive::<Decimal128Type>().value(row).to_le_bytes().to_vec()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instant = column.as_primitive::<TimestampMicrosecondType>().value(row);
            Some(Cow::Owned(instant.to_le_bytes().to_vec()))
        }
        _ => None,
    }
}

pub(crate) fn hash(key: &[u8]) -> u64 {
    XxHash64::oneshot(0, key)
}

/// The keys of one call.
#[derive(Debug)]
pub(crate) struct Keys {
    /// As asked, trimmed; what cannot be a value of the item's type is left out and matches nothing.
    pub(crate) texts: Vec<String>,
    asked: HashMap<Vec<u8>, Vec<u32>>,
}

impl Keys {
    pub(crate) fn new(
        item_type: ItemType,
        keys: &[String],
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        if keys.len() > limits.lookup_keys_max {
            return Err(too_many(limits));
        }
        let texts: StringArray = keys.iter().map(|key| Some(key.as_str())).collect();
        let typed = fit::parse_text(&texts, item_type);
        let mut asked: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        let mut seen = HashSet::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(bytes) = key_bytes(&typed, row) {
                seen.insert(parse::trimmed(key).to_owned());
                asked.entry(bytes.into_owned()).or_default().push(row as u32);
            }
        }
        let mut texts: Vec<String> = seen.into_iter().collect();
        texts.sort();
        Ok(Self { texts, asked })
    }

    /// Different keys asked.
    pub(crate) fn len(&self) -> usize {
        self.asked.len()
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.asked.keys().map(|key| hash(key))
    }
}

fn too_many(limits: &SourceLimits) -> SourceError {
    SourceError::TooManyRows { rows_max: limits.lookup_rows_max, keys_max: limits.lookup_keys_max }
}

/// Collects the rows that match, under the ceiling.
pub(crate) struct Found<'a> {
    keys: &'a Keys,
    limits: &'a SourceLimits,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    key_index: Vec<u32>,
}

impl<'a> Found<'a> {
    /// `schema` is that of the asked columns.
    pub(crate) fn new(keys: &'a Keys, schema: SchemaRef, limits: &'a SourceLimits) -> Self {
        Self { keys, limits, schema, batches: Vec::new(), key_index: Vec::new() }
    }

    /// Takes the rows of `rows` whose cell in `key` equals a key asked.
    pub(crate) fn offer(&mut self, rows: &RecordBatch, key: &ArrayRef) -> Result<(), SourceError> {
        let mut take_rows: Vec<u32> = Vec::new();
        for row in 0..key.len() {
            let Some(bytes) = key_bytes(key, row) else { continue };
            for asked in self.keys.asked.get(bytes.as_ref()).into_iter().flatten() {
                take_rows.push(row as u32);
                self.key_index.push(*asked);
            }
            if self.key_index.len() > self.limits.lookup_rows_max {
                return Err(too_many(self.limits));
            }
        }
        // Without columns a row is only its key index.
        if !take_rows.is_empty() && !self.schema.fields().is_empty() {
            self.batches.push(take_record_batch(rows, &UInt32Array::from(take_rows))?);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<LookupRows, SourceError> {
        let mut order: Vec<u64> = (0..self.key_index.len() as u64).collect();
        // Stable: rows of one key stay in the order of the source.
        order.sort_by_key(|row| self.key_index.get(*row as usize).copied());
        let order = UInt64Array::from(order);
        let key_index = take(&UInt32Array::from(self.key_index), &order, None)?;
        let key_index = key_index.as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec();
        let rows = if self.schema.fields().is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(key_index.len()));
            RecordBatch::try_new_with_options(self.schema, Vec::new(), &options)?
        } else {
            take_record_batch(&concat_batches(&self.schema, &self.batches)?, &order)?
        };
        Ok(LookupRows { rows, key_index })
    }
}

/// A schema of the asked columns.
pub(crate) fn asked_schema(schema: &SchemaRef, columns: &[usize]) -> Result<SchemaRef, SourceError> {
    Ok(Arc::new(schema.project(columns)?))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::Int64Array,
        datatypes::{Field, Schema},
    };

    use super::*;

    #[test]
    fn rows_come_ordered_by_the_key_asked_and_only_when_the_key_is_equal() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let limits = SourceLimits { lookup_rows_max: 5, ..SourceLimits::default() };
        let asked: Vec<String> = ["b", " a ", "none", "", "b"].map(str::to_owned).to_vec();
        let keys = Keys::new(ItemType::Text, &asked, &limits).expect("keys");
        let mut found = Found::new(&keys, Arc::clone(&schema), &limits);
        let rows =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))]);
        let column: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), Some("b "), Some("A"), None, Some("")]));
        found.offer(rows.as_ref().expect("rows"), &column).expect("offer");
        let answer = found.finish().expect("finish");
        assert_eq!(answer.key_index, [0, 1, 4]);
        assert_eq!(answer.rows.column(0).as_primitive::<Int64Type>().values(), &[2, 1, 2]);
        let mut found = Found::new(&keys, Arc::clone(&schema), &limits);
        let rows = rows.expect("rows");
        found.offer(&rows, &column).expect("offer");
        assert!(matches!(found.offer(&rows, &column), Err(SourceError::TooManyRows { .. })));
    }

    #[test]
    fn keys_are_compared_in_their_own_type() {
        let limits = SourceLimits::default();
        for (item, asked, expect) in [
            (ItemType::Integer, " 042", 1),
            (ItemType::Integer, "x", 0),
            (ItemType::Date, "20240229", 1),
            (ItemType::Date, "2023-02-29", 0),
            (ItemType::Text, "  ", 0),
        ] {
            let keys = Keys::new(item, &[asked.to_owned()], &limits).expect("keys");
            assert_eq!(keys.hashes().count(), expect, "{asked}");
        }
    }
}
