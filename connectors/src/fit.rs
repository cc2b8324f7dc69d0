//! Columns of a source as columns of the items' types; what does not fit reads null and is counted.
//!
//! INVARIANT: a conversion is exact; nothing is rounded or truncated on the way (but instants, cut to microseconds).
//! INVARIANT: which filters may be pushed below a conversion is decided in `predicate`, by [`Route`].

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
        StringArray, TimestampMicrosecondArray,
    },
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Float32Type, Float64Type, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};
use catalog::ItemType;

use crate::{SourceError, parse};

/// How a source column becomes an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Every value stays what it is: filters on the item hold on the column too.
    Same,
    /// Arrow's own cast, which cannot change a value here, though some may not fit.
    Cast,
    /// By way of text, cell by cell.
    Parse,
    /// Floats, of which NaN and infinities do not fit.
    Finite,
}

/// The way from a source type to an item type; none when no cell could ever fit.
pub(crate) fn route(source: &DataType, item: ItemType) -> Option<Route> {
    use DataType::*;
    let text = match source {
        Utf8 | LargeUtf8 | Utf8View => true,
        Dictionary(_, value) => matches!(**value, Utf8 | LargeUtf8 | Utf8View),
        _ => false,
    };
    if *source == Null {
        return Some(Route::Cast);
    }
    Some(match item {
        ItemType::Text if text => Route::Same,
        ItemType::Text if source.is_integer() => Route::Cast,
        ItemType::Integer => match source {
            UInt64 => Route::Cast,
            integer if integer.is_integer() => Route::Same,
            Float32 | Float64 | Decimal32(..) | Decimal64(..) | Decimal128(..) => Route::Parse,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Decimal => match source {
            Decimal128(38, 4) => Route::Same,
            integer if integer.is_integer() => Route::Cast,
            Decimal32(..) | Decimal64(..) | Decimal128(..) | Float32 | Float64 => Route::Parse,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Date => match source {
            Date32 => Route::Same,
            // An instant that is not midnight has no date of its own: which one depends on a zone.
            Date64 | Timestamp(..) | Int32 | Int64 => Route::Parse,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Timestamp => match source {
            Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => Route::Same,
            Timestamp(..) | Date32 => Route::Cast,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Boolean => match source {
            Boolean => Route::Same,
            integer if integer.is_integer() => Route::Parse,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Binary => match source {
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Route::Same,
            _ => return None,
        },
        ItemType::Float => match source {
            Float64 | Float32 => Route::Finite,
            integer if integer.is_integer() => Route::Parse,
            Decimal32(..) | Decimal64(..) | Decimal128(..) => Route::Parse,
            _ if text => Route::Parse,
            _ => return None,
        },
        ItemType::Text => return None,
    })
}

/// The column as the item's Arrow type, and how many cells that were not null do not fit.
pub(crate) fn fit(column: &ArrayRef, item: ItemType) -> Result<(ArrayRef, u64), SourceError> {
    let target = item.arrow();
    let Some(route) = route(column.data_type(), item) else {
        return Err(SourceError::unavailable("the type of a column changed after the mount"));
    };
    let before = column.logical_null_count();
    let fitted: ArrayRef = match route {
        Route::Same if *column.data_type() == target => return Ok((Arc::clone(column), 0)),
        Route::Same | Route::Cast => cast_with_options(
            column,
            &target,
            &CastOptions { safe: true, format_options: FormatOptions::default() },
        )?,
        Route::Finite => {
            let floats = cast(column, &DataType::Float64)?;
            let floats = floats.as_primitive::<Float64Type>();
            if floats.iter().flatten().all(f64::is_finite) {
                return Ok((Arc::new(floats.clone()), 0));
            }
            Arc::new(Float64Array::from_iter(
                floats.iter().map(|value| value.filter(|value| value.is_finite())),
            ))
        }
        Route::Parse => parse_text(&as_text(column)?, item),
    };
    let unfit = fitted.logical_null_count().saturating_sub(before);
    Ok((fitted, unfit as u64))
}

fn as_text(column: &ArrayRef) -> Result<StringArray, SourceError> {
    Ok(match column.data_type() {
        // The shortest text that reads back as the same float, never with an exponent.
        DataType::Float32 => column
            .as_primitive::<Float32Type>()
            .iter()
            .map(|value| value.map(|value| value.to_string()))
            .collect(),
        DataType::Float64 => column
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map(|value| value.to_string()))
            .collect(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            (0..column.len())
                .map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()))
                .collect()
        }
        _ => cast(column, &DataType::Utf8)?.as_string::<i32>().clone(),
    })
}

/// Text cells as values of the item's type; an empty or unfit cell is null.
pub(crate) fn parse_text(text: &StringArray, item: ItemType) -> ArrayRef {
    let cells = text.iter();
    match item {
        ItemType::Text | ItemType::Binary => Arc::new(text.clone()),
        ItemType::Integer => Arc::new(cells.map(|cell| parse::integer(cell?)).collect::<Int64Array>()),
        ItemType::Decimal => {
            let values: Decimal128Array = cells.map(|cell| parse::decimal(cell?)).collect();
            Arc::new(values.with_data_type(item.arrow()))
        }
        ItemType::Date => Arc::new(cells.map(|cell| parse::date(cell?)).collect::<Date32Array>()),
        ItemType::Timestamp => {
            let values: TimestampMicrosecondArray = cells.map(|cell| parse::timestamp(cell?)).collect();
            Arc::new(values.with_timezone("UTC"))
        }
        ItemType::Boolean => Arc::new(cells.map(|cell| parse::boolean(cell?)).collect::<BooleanArray>()),
        ItemType::Float => Arc::new(
            cells
                .map(|cell| {
                    let cell = cell?;
                    // An integer beyond 2^53 would be rounded.
                    parse::float(cell).filter(|_| {
                        parse::integer(cell).is_none_or(|whole| whole.abs() <= parse::FLOAT_INTEGER_MAX)
                    })
                })
                .collect::<Float64Array>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringViewArray, UInt64Array};

    use super::*;

    fn check(column: impl Array + 'static, item: ItemType, expect: [Option<&str>; 3], unfit: u64) {
        let column: ArrayRef = Arc::new(column);
        let (fitted, count) = fit(&column, item).expect("fit");
        assert_eq!(*fitted.data_type(), item.arrow());
        let formatter = ArrayFormatter::try_new(&fitted, &FormatOptions::default()).expect("formatter");
        let shown: Vec<Option<String>> =
            (0..3).map(|row| fitted.is_valid(row).then(|| formatter.value(row).to_string())).collect();
        assert_eq!(shown, expect.map(|cell| cell.map(str::to_owned)), "{item:?}");
        assert_eq!(count, unfit, "{item:?}");
    }

    #[test]
    fn cells_fit_exactly_or_read_null_and_are_counted() {
        let text = || StringArray::from(vec![Some("42"), Some("x"), None]);
        check(text(), ItemType::Text, [Some("42"), Some("x"), None], 0);
        check(text(), ItemType::Integer, [Some("42"), None, None], 1);
        check(text(), ItemType::Decimal, [Some("42.0000"), None, None], 1);
        check(text(), ItemType::Date, [None, None, None], 2);
        let view = StringViewArray::from(vec![Some("2024-02-29"), Some("20240101"), Some("2024-13-01")]);
        check(view, ItemType::Date, [Some("2024-02-29"), Some("2024-01-01"), None], 1);
        let floats = || Float64Array::from(vec![Some(2.0), Some(0.1), Some(f64::NAN)]);
        check(floats(), ItemType::Integer, [Some("2"), None, None], 2);
        check(floats(), ItemType::Decimal, [Some("2.0000"), Some("0.1000"), None], 1);
        check(floats(), ItemType::Float, [Some("2.0"), Some("0.1"), None], 1);
        check(UInt64Array::from(vec![1, u64::MAX, 3]), ItemType::Integer, [Some("1"), None, Some("3")], 1);
        check(Int32Array::from(vec![1, -2, 3]), ItemType::Text, [Some("1"), Some("-2"), Some("3")], 0);
        check(Int32Array::from(vec![0, 1, 2]), ItemType::Boolean, [Some("false"), Some("true"), None], 1);
        check(
            Int32Array::from(vec![20240229, 5, 20230229]),
            ItemType::Date,
            [Some("2024-02-29"), None, None],
            2,
        );
        check(
            Int64Array::from(vec![1, (1 << 53) + 1, 3]),
            ItemType::Float,
            [Some("1.0"), None, Some("3.0")],
            1,
        );
        let money = Decimal128Array::from(vec![150, 100, 123_456_789]).with_precision_and_scale(20, 2);
        check(money.expect("decimal"), ItemType::Integer, [None, Some("1"), None], 2);
    }

    #[test]
    fn hopeless_types_are_refused_at_the_mount() {
        for (source, item) in [
            (DataType::Float64, ItemType::Text),
            (DataType::Boolean, ItemType::Integer),
            (DataType::Utf8, ItemType::Binary),
            (DataType::Date32, ItemType::Decimal),
            (DataType::new_list(DataType::Int32, true), ItemType::Integer),
        ] {
            assert_eq!(route(&source, item), None, "{source} {item:?}");
        }
    }
}
