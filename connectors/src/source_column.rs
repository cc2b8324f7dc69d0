//! The column of an item in typed files: there once, in every file, of one type the item can be read from.

use arrow::datatypes::{DataType, Field, SchemaRef};
use catalog::{Faults, Resource};

use crate::fit;

/// The column of item `number`, if it is in every file with one type the item can be read from.
pub(crate) fn source_column(
    resource: &Resource,
    number: usize,
    schemas: &[SchemaRef],
    faults: &mut Faults,
) -> Option<Field> {
    let item = resource.items.get(number)?;
    let column = item.source_column();
    let mut first: Option<Field> = None;
    for schema in schemas {
        let Ok(at) = schema.index_of(column) else {
            faults.add(
                format!("/items/{number}/column"),
                format!("column `{column}` is not in the source; name one that is"),
            );
            return None;
        };
        if schema.fields().iter().filter(|field| field.name() == column).count() > 1 {
            faults.add(
                format!("/items/{number}/column"),
                format!("column `{column}` is in the source twice; rename one"),
            );
            return None;
        }
        let kind: &DataType = schema.field(at).data_type();
        if fit::route(kind, item.item_type).is_none() {
            faults.add(
                format!("/items/{number}/type"),
                format!(
                    "column `{column}` holds `{kind}`, which cannot be read as `{:?}`; declare another type",
                    item.item_type
                ),
            );
            return None;
        }
        if first.as_ref().is_some_and(|first| first.data_type() != kind) {
            faults.add(
                format!("/items/{number}/column"),
                format!("column `{column}` has different types in different files; write them alike"),
            );
            return None;
        }
        first.get_or_insert_with(|| Field::new(column, kind.clone(), true));
    }
    first
}
