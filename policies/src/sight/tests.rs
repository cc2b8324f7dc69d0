//! What a sight lets through: no hidden bytes, null slots zero, cell ceiling.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{batch, caller, master, resource, terms};

fn sight(change: Value) -> Sight {
    Sight::new(&resource(), &terms(change), &caller(&[]), &master()).unwrap()
}

/// What a sight shows of the fixture's batch, one line a row.
fn shown(sight: &Sight, projection: Option<&[usize]>) -> Vec<String> {
    let columns = sight.source_columns(projection);
    let governed = sight.govern(batch().project(&columns).unwrap(), projection).unwrap();
    assert_eq!(governed.schema(), sight.projected(projection).unwrap());
    let cell = |column: usize, row: usize| {
        arrow::util::display::array_value_to_string(governed.column(column), row).unwrap()
    };
    (0..governed.num_rows())
        .map(|row| (0..governed.num_columns()).map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

#[test]
fn rows_are_scoped_then_masked_then_projected() {
    let own = json!({
        // Out of catalogue order: the schema is in it all the same.
        "output": [{"item": "salary", "mask": {"bucket": 50}}, {"item": "name", "mask": {"keep_first": 1}}],
        "scope": {"compare": {"item": "sex", "op": "=", "value": "1"}},
    });
    let sight = sight(own);
    assert_eq!(
        sight.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["name", "salary"]
    );
    assert_eq!(sight.source_columns(None), [1, 3, 6]);
    assert_eq!(sight.source_columns(Some(&[1])), [3, 6]);
    assert_eq!(sight.source_columns(Some(&[])), [3]);
    assert_eq!(shown(&sight, None), ["张***|100"]);
    assert_eq!(shown(&sight, Some(&[1, 0])), ["100|张***"]);
    assert_eq!(shown(&sight, Some(&[])), [""]);
    assert!(sight.scoped() && !sight.unmasked("name") && !sight.unmasked("sex") && !sight.unmasked("nosuch"));
    assert_eq!(sight.inputs(), ["id_number"]);
}

#[test]
fn without_a_scope_every_row_is_there() {
    let sight = sight(json!({"output": [{"item": "birth_date", "mask": "hide"}, {"item": "active"}]}));
    assert_eq!(sight.schema().field(0).data_type(), &DataType::Utf8);
    assert_eq!(shown(&sight, None), ["***|true", "***|false", "***|", "***|true"]);
    assert_eq!(shown(&sight, Some(&[])), ["", "", "", ""]);
    assert!(sight.source_columns(Some(&[])).is_empty());
}

#[test]
fn the_reviewer_sees_the_whole_record() {
    let sight = Sight::whole(&resource());
    assert_eq!(sight.schema(), &resource().schema());
    assert_eq!(shown(&sight, None).len(), 4);
    assert_eq!(shown(&sight, Some(&[1])), ["张三丰", "CANARY", "", "李"]);
}

#[test]
fn a_grant_that_no_longer_fits_gives_no_sight() {
    let check = |change: Value, expect: SightFault| {
        let fault = Sight::new(&resource(), &terms(change), &caller(&[]), &master()).err();
        assert_eq!(fault, Some(expect));
    };
    check(json!({"output": [{"item": "gone"}]}), SightFault::UnknownItem("gone".into()));
    check(json!({"input": ["gone"]}), SightFault::UnknownItem("gone".into()));
    check(
        json!({"output": [{"item": "name"}, {"item": "name", "mask": "hide"}]}),
        SightFault::Twice("name".into()),
    );
    check(json!({"output": [{"item": "secret"}]}), SightFault::Withheld("secret".into()));
    check(json!({"input": ["secret"]}), SightFault::Withheld("secret".into()));
    check(json!({"output": [{"item": "salary", "mask": "year"}]}), SightFault::Mask("salary".into()));
    check(json!({"output": [{"item": "salary", "mask": {"bucket": 0}}]}), SightFault::Mask("salary".into()));
    let unset = json!({"compare": {"item": "region", "op": "=", "value": {"caller": "region_code"}}});
    check(json!({"scope": unset}), ScopeFault::Unset("region_code".into()).into());
}

#[test]
fn a_source_with_other_columns_is_a_fault() {
    let sight = sight(json!({}));
    let check = |batch: RecordBatch| {
        let error = sight.govern(batch, None).unwrap_err();
        assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Shape));
    };
    check(batch());
    check(batch().project(&[1]).unwrap());
    check(batch().project(&[6, 1]).unwrap());
    let good = batch().project(&[1, 6]).unwrap();
    let error = sight.govern(good, Some(&[2])).unwrap_err();
    assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Shape));
}

#[test]
fn no_hidden_bytes_ride_along() {
    let names = ["visible", "CANARY-hidden", "CANARY-null", "visible"].join("");
    let names = StringArray::new(
        OffsetBuffer::from_lengths([7, 13, 11, 7]),
        names.into_bytes().into(),
        Some(NullBuffer::from(vec![true, true, false, true])),
    );
    // The third slot is null, with a value behind it.
    let salaries = Int64Array::new(
        ScalarBuffer::from(vec![1, 200, 250, 1]),
        Some(NullBuffer::from(vec![true, true, false, true])),
    );
    let schema = resource().schema().project(&[1, 6]).unwrap();
    let source = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(salaries)]).unwrap();
    let hide_200 = json!({"not": {"in": {"item": "salary", "values": [200]}}});
    let or_null = json!({"any": [hide_200, {"is_null": "salary"}]});
    for (scope, source, rows) in [
        (Value::Null, source.slice(2, 2), 2),
        (Value::Null, source.slice(2, 1), 1),
        (hide_200, source.clone(), 2),
        (or_null, source, 3),
    ] {
        let governed = sight(json!({"scope": scope})).govern(source, None).unwrap();
        assert_eq!(governed.num_rows(), rows);
        for column in governed.columns() {
            assert_eq!(column.offset(), 0);
            for buffer in column.to_data().buffers() {
                let bytes = String::from_utf8_lossy(buffer.as_slice()).into_owned();
                assert!(!bytes.contains("CANARY"), "{bytes:?}");
                assert!(!buffer.as_slice().iter().any(|byte| matches!(byte, 200 | 250)), "{buffer:?}");
            }
            let null_bits = column
                .nulls()
                .map_or(0, |nulls| nulls.buffer().as_slice().iter().map(|b| b.count_ones()).sum());
            assert!(null_bits as usize <= rows, "bits behind the end are zero");
        }
        let salaries = governed.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..rows {
            assert!(salaries.is_valid(row) || salaries.values()[row] == 0);
        }
    }
}

#[test]
fn a_cell_too_large_stops_the_answer_when_it_would_be_seen() {
    let sized = |bytes: usize| {
        let schema = Arc::new(resource().schema().project(&[1, 6]).unwrap());
        let name = "x".repeat(bytes);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![name.as_str(), "y"])),
            Arc::new(Int64Array::from(vec![1, 2])),
        ];
        RecordBatch::try_new(schema, columns).unwrap()
    };
    assert!(sight(json!({})).govern(sized(CELL_BYTES_MAX), None).is_ok());
    let error = sight(json!({})).govern(sized(CELL_BYTES_MAX + 1), None).unwrap_err();
    assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
    // Hidden by scope or mask, it is nobody's reason to fail.
    let scope = json!({"compare": {"item": "salary", "op": "=", "value": 2}});
    assert!(sight(json!({"scope": scope})).govern(sized(CELL_BYTES_MAX + 1), None).is_ok());
    let output = json!([{"item": "name", "mask": {"keep_first": 1}}, {"item": "salary"}]);
    assert!(sight(json!({"output": output})).govern(sized(CELL_BYTES_MAX + 1), None).is_ok());
}

#[test]
fn debug_shows_no_literal() {
    let scope = json!({"compare": {"item": "name", "op": "=", "value": "CANARY"}});
    assert_eq!(
        format!("{:?}", sight(json!({"scope": scope}))),
        "Sight { resource: ResourceName(\"population.resident\"), .. }"
    );
}

#[test]
fn rows_found_by_key_lose_their_key_with_their_row() {
    let scope = json!({"in": {"item": "salary", "values": [200, -1]}});
    let sight = sight(json!({"scope": scope}));
    let source = || batch().project(&sight.source_columns(Some(&[0]))).unwrap();
    let governed = sight.govern_keyed(source(), vec![0, 3, 5, 5], &[0]).unwrap();
    assert_eq!(
        governed.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["key_index", "name"]
    );
    assert_eq!(governed.column(0).as_primitive::<arrow::datatypes::UInt32Type>().values(), &[3, 5]);
    assert_eq!(governed.column(1).as_string::<i32>().value(0), "CANARY");
    for keys in [vec![], vec![0, 3, 5]] {
        assert!(sight.govern_keyed(source(), keys, &[0]).is_err(), "a row without its key");
    }
}
