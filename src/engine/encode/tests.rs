//! Every format from the same rows, read back by readers of others.

use std::sync::Arc;

use bytes_of::{parquet_rows, whole};
use datafusion::arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    NullArray, StringArray, TimestampMicrosecondArray, TimestampSecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;

use super::*;

mod bytes_of {
    //! Whole answers, and Parquet read back.

    use super::*;

    pub fn whole(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let (mut encoder, mut bytes) = Encoder::start(format, &batches[0].schema()).expect("start");
        for batch in batches {
            bytes.extend(encoder.batch(batch).expect("batch"));
        }
        bytes.extend(encoder.finish("rcpt_1").expect("finish"));
        bytes
    }

    pub fn parquet_rows(bytes: Vec<u8>) -> Vec<RecordBatch> {
        use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, bytes).expect("write");
        let file = std::fs::File::open(path).expect("open");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        reader.build().expect("reader").map(|batch| batch.expect("rows")).collect()
    }
}

fn one(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("a", array, true)]).expect("batch")
}

fn check(array: ArrayRef, json: &str, csv: &str) {
    let batch = one(array);
    let answer: serde_json::Value =
        serde_json::from_slice(&whole(Format::Json, std::slice::from_ref(&batch)))
            .expect("the answer is JSON");
    let rows: serde_json::Value = serde_json::from_str(json).expect("expectation");
    let cells: Vec<&serde_json::Value> =
        answer["rows"].as_array().expect("rows").iter().map(|row| &row["a"]).collect();
    assert_eq!(serde_json::json!(cells), rows);
    assert_eq!(answer["receipt"], "rcpt_1");
    let lines = String::from_utf8(whole(Format::Lines, std::slice::from_ref(&batch))).expect("text");
    assert!(lines.ends_with('\n'));
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(serde_json::json!(lines.iter().map(|row| &row["a"]).collect::<Vec<_>>()), rows);
    let table = String::from_utf8(whole(Format::Csv, &[batch])).expect("text");
    assert_eq!(table, format!("a\r\n{csv}\r\n"));
}

#[test]
fn cells_are_written_as_the_api_says() {
    check(
        Arc::new(StringArray::from(vec![Some("a\"\n\u{2028}"), None, Some("")])),
        r#"["a\"\n\u2028", null, ""]"#,
        "\"a\"\"\n\u{2028}\"\r\n\r\n\"\"",
    );
    check(
        Arc::new(Int64Array::from(vec![1, 9_007_199_254_740_992, 9_007_199_254_740_993, i64::MIN])),
        r#"[1, 9007199254740992, "9007199254740993", "-9223372036854775808"]"#,
        "1\r\n9007199254740992\r\n9007199254740993\r\n-9223372036854775808",
    );
    check(
        Arc::new(Float64Array::from(vec![-1.5, f64::NAN, f64::INFINITY])),
        r#"[-1.5, "NaN", "inf"]"#,
        "-1.5\r\nNaN\r\ninf",
    );
    check(Arc::new(BooleanArray::from(vec![true, false])), "[true, false]", "true\r\nfalse");
    check(Arc::new(Date32Array::from(vec![0])), r#"["1970-01-01"]"#, "1970-01-01");
    check(Arc::new(BinaryArray::from(vec![b"ab".as_slice()])), r#"["YWI="]"#, "YWI=");
    let decimal = Decimal128Array::from(vec![12_345_678, -1]).with_precision_and_scale(38, 4);
    check(Arc::new(decimal.expect("decimal")), r#"["1234.5678", "-0.0001"]"#, "1234.5678\r\n-0.0001");
    check(
        Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC")),
        r#"["1970-01-01T00:00:01.500Z"]"#,
        "1970-01-01T00:00:01.500Z",
    );
}

#[test]
fn no_text_of_a_csv_begins_a_formula() {
    for (text, expect) in [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "\"'\tx\""),
        ("\rx", "\"'\rx\""),
        ("\n=x", "\"'\n=x\""),
        ("\0=x", "'\0=x"),
        ("＝x", "'＝x"),
        ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
        ("a=1", "a=1"),
        ("张, 三", "\"张, 三\""),
        (" x", "\" x\""),
    ] {
        let bytes = whole(Format::Csv, &[one(Arc::new(StringArray::from(vec![text])))]);
        assert_eq!(String::from_utf8(bytes).expect("text"), format!("a\r\n{expect}\r\n"), "{text:?}");
    }
    let named = RecordBatch::try_from_iter([("=a", Arc::new(Int64Array::from(vec![-1])) as ArrayRef)]);
    let bytes = whole(Format::Csv, &[named.expect("batch")]);
    assert_eq!(bytes, b"'=a\r\n-1\r\n");
}

#[test]
fn parquet_is_read_back_with_its_types() {
    let decimal = Decimal128Array::from(vec![Some(12_345_678), None]).with_precision_and_scale(38, 4);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![Some("张"), None]))),
        ("integer", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("decimal", Arc::new(decimal.expect("decimal"))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]).with_timezone("UTC"))),
        ("second", Arc::new(TimestampSecondArray::from(vec![Some(1), None]))),
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("binary", Arc::new(BinaryArray::from(vec![Some(b"ab".as_slice()), None]))),
        ("view", cast(&StringArray::from(vec![Some("x"), None]), &DataType::Utf8View).expect("view")),
        ("nothing", Arc::new(NullArray::new(2))),
    ];
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("batch");
    let read = parquet_rows(whole(Format::Parquet, &[batch.clone(), batch.clone()])).remove(0);
    assert_eq!(read.num_rows(), 4);
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let back = read.column_by_name(field.name()).expect("a column").slice(2, 2);
        let shown = |array: &ArrayRef| cast(array, &DataType::Utf8).expect("text").as_string::<i32>().clone();
        assert_eq!(shown(&back), shown(&cast(column, back.data_type()).expect("the same type")), "{field}");
        if !matches!(field.data_type(), DataType::Null | DataType::Utf8View | DataType::Timestamp(..)) {
            assert_eq!(back.data_type(), field.data_type());
        }
    }
    assert_eq!(parquet_rows(whole(Format::Parquet, &[batch.slice(0, 0)])).len(), 0);
}

#[test]
fn parquet_is_sent_a_group_at_a_time_and_carries_nothing_beside_the_rows() {
    // Text that does not pack well: about 5 MB.
    let word = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n >> 3));
    let text = |row: u64| (0..16).map(|part| word((row * 16 + part) * 0x5851_f42d)).collect::<String>();
    let texts: StringArray = (0..20_000).map(|row| Some(text(row))).collect();
    let batch = one(Arc::new(texts));
    let (mut encoder, _head) = Encoder::start(Format::Parquet, &batch.schema()).expect("start");
    let chunks: Vec<usize> = (0..8).map(|_| encoder.batch(&batch).expect("batch").len()).collect();
    assert!(chunks.iter().filter(|bytes| **bytes > 0).count() >= 4, "{chunks:?}");
    // A slice of rows, cut out of others, in two orders of arrival: the same file, and no byte of the others.
    let rows = |texts: Vec<&str>, at| one(Arc::new(StringArray::from(texts).slice(at, 2)));
    let one_way = whole(Format::Parquet, &[rows(vec!["CANARY-1", "a", "b"], 1)]);
    let other_way = whole(Format::Parquet, &[rows(vec!["a", "b", "CANARY-2", "CANARY-3"], 0)]);
    assert_eq!(one_way, other_way);
    let text = String::from_utf8_lossy(&one_way);
    for word in ["CANARY", "ARROW:schema", "parquet-rs", "arrow"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    assert!(text.contains("tongqu"));
}

#[test]
fn nothing_that_breaks_off_ends_as_a_whole_answer_does() {
    let batch = one(Arc::new(StringArray::from(vec!["x", "y"])));
    for format in Format::ALL {
        let (mut encoder, mut bytes) = Encoder::start(format, &batch.schema()).expect("start");
        bytes.extend(encoder.batch(&batch).expect("batch"));
        assert!(!encoder.finish("rcpt_1").expect("finish").is_empty(), "{format:?}");
        match format {
            Format::Json => assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_err()),
            Format::Lines | Format::Csv => assert!(!bytes.ends_with(b"\n")),
            Format::Arrow => assert!(!bytes.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
            Format::Parquet => assert!(bytes.len() == 4 || !bytes.ends_with(b"PAR1")),
        }
    }
}
