//! Every mask on every type, extremes included.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use catalog::ItemType;

use super::*;
use crate::civil::{DAY_US, days};
use crate::fixture::{batch, master};

const TYPES: [ItemType; 8] = [
    ItemType::Text,
    ItemType::Decimal,
    ItemType::Date,
    ItemType::Timestamp,
    ItemType::Boolean,
    ItemType::Binary,
    ItemType::Float,
    ItemType::Integer,
];

#[test]
fn which_masks_fit_which_types() {
    use ItemType::*;
    let check = |mask: Mask, fits: &[ItemType]| {
        for item_type in TYPES {
            let shown = mask.output_type(item_type);
            assert_eq!(shown.is_ok(), fits.contains(&item_type), "{mask:?} on {item_type:?}");
            if let Ok(shown) = shown {
                let expect = if mask == Mask::Hide { DataType::Utf8 } else { item_type.arrow() };
                assert_eq!(shown, expect);
            }
        }
    };
    check(Mask::Hide, &TYPES);
    check(Mask::KeepFirst(1), &[Text]);
    check(Mask::KeepFirst(0), &[]);
    check(Mask::KeepLast(4), &[Text]);
    check(Mask::KeepLast(0), &[]);
    check(Mask::Pseudonym, &[Text]);
    check(Mask::RegionPrefix(2), &[Text]);
    check(Mask::RegionPrefix(4), &[Text]);
    check(Mask::RegionPrefix(6), &[Text]);
    check(Mask::RegionPrefix(3), &[]);
    check(Mask::RegionPrefix(0), &[]);
    check(Mask::Year, &[Date, Timestamp]);
    check(Mask::Bucket(1), &[Integer, Decimal, Float]);
    check(Mask::Bucket(0), &[]);
    check(Mask::Bucket(u64::MAX), &[]);
}

#[test]
fn texts() {
    let check = |mask: Mask, value: Option<&str>, expect: Option<&str>| {
        let array: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let shown = mask.apply(&array, &master()).unwrap();
        assert_eq!(shown.as_string::<i32>().iter().next().unwrap(), expect, "{mask:?} {value:?}");
    };
    check(Mask::Hide, Some("张三"), Some("***"));
    check(Mask::Hide, None, Some("***"));
    check(Mask::KeepFirst(1), Some("张三"), Some("张***"));
    check(Mask::KeepFirst(1), Some("欧阳修远"), Some("欧***"));
    check(Mask::KeepFirst(1), Some("张"), Some("***"));
    check(Mask::KeepFirst(1), Some(""), Some("***"));
    check(Mask::KeepFirst(255), Some("abc"), Some("***"));
    check(Mask::KeepFirst(1), Some("𠀀a"), Some("𠀀***"));
    check(Mask::KeepFirst(1), None, None);
    check(Mask::KeepLast(4), Some("110101199001011234"), Some("***1234"));
    check(Mask::KeepLast(4), Some("1234"), Some("***"));
    check(Mask::KeepLast(4), Some("01234"), Some("***1234"));
    check(Mask::KeepLast(1), Some("张三"), Some("***三"));
    check(Mask::KeepLast(1), Some(""), Some("***"));
    check(Mask::KeepLast(1), None, None);
    check(Mask::RegionPrefix(2), Some("640102"), Some("64"));
    check(Mask::RegionPrefix(6), Some("110101199001011234"), Some("110101"));
    check(Mask::RegionPrefix(4), Some("64"), None);
    check(Mask::RegionPrefix(2), Some("6a"), None);
    check(Mask::RegionPrefix(2), Some("宁夏"), None);
    check(Mask::RegionPrefix(2), Some("６４"), None);
    check(Mask::RegionPrefix(2), None, None);
    check(Mask::Pseudonym, None, None);
}

#[test]
fn dates_show_their_year() {
    let batch = batch();
    let dates = Mask::Year.apply(batch.column(2), &master()).unwrap();
    let expect =
        [Some(days(1990, 1, 1) as i32), Some(days(1985, 1, 1) as i32), None, Some(days(1969, 1, 1) as i32)];
    assert_eq!(dates.as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), expect);
    let times = Mask::Year.apply(batch.column(9), &master()).unwrap();
    assert_eq!(times.data_type(), &ItemType::Timestamp.arrow());
    let expect = [Some(0), Some(days(1971, 1, 1) * DAY_US), None, Some(days(1969, 1, 1) * DAY_US)];
    assert_eq!(times.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(), expect);
    // The ends of the range have no 1 January in it.
    let ends: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![i32::MIN, i32::MAX]));
    let shown = Mask::Year.apply(&ends, &master()).unwrap();
    assert!(shown.is_null(0) && shown.is_valid(1));
    let ends: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]));
    let shown = Mask::Year.apply(&ends, &master()).unwrap();
    assert!(shown.is_null(0) && shown.is_valid(1));
}

#[test]
fn numbers_round_down() {
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![0, 9, 10, 19, -1, -10, -11, i64::MAX, i64::MIN]));
    let shown = Mask::Bucket(10).apply(&integers, &master()).unwrap();
    let expect = [0, 0, 10, 10, -10, -10, -20, i64::MAX / 10 * 10].map(Some);
    let shown: Vec<_> = shown.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(shown, [expect.as_slice(), &[None]].concat());

    let floats: ArrayRef =
        Arc::new(Float64Array::from(vec![0.0, -0.0, 9.99, -0.01, f64::NAN, f64::INFINITY]));
    let shown = Mask::Bucket(5).apply(&floats, &master()).unwrap();
    let shown: Vec<_> = shown.as_primitive::<Float64Type>().iter().map(|v| v.map(f64::to_bits)).collect();
    let expect = [Some(0.0), Some(0.0), Some(5.0), Some(-5.0), None, Some(f64::INFINITY)];
    assert_eq!(shown, expect.map(|v: Option<f64>| v.map(f64::to_bits)));

    let shown = Mask::Bucket(2).apply(batch().column(7), &master()).unwrap();
    assert_eq!(shown.data_type(), &ItemType::Decimal.arrow());
    let expect = [Some(0), Some(80_000), None, Some(-20_000)];
    assert_eq!(shown.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(), expect);
}

#[test]
fn pseudonyms_link_within_a_department_and_purpose_only() {
    let key = |department: &str, purpose: &str| master().derive(&department.into(), purpose);
    let one = key("civil-affairs", "benefits");
    let shown = one.pseudonym("110101199001011234");
    assert_eq!(shown.len(), 34);
    assert!(shown.starts_with("p:") && shown.chars().skip(2).all(|c| c.is_ascii_hexdigit()), "{shown}");
    assert_eq!(one.pseudonym("110101199001011234"), shown);
    assert_eq!(one.pseudonym(" 110101199001011234 "), shown);
    assert_eq!(one.pseudonym("11010119900101123x"), one.pseudonym("11010119900101123X"));
    // One person, in a 15-digit number of before 1999 and in the 18-digit one.
    assert_eq!(one.pseudonym("110105491231002"), one.pseudonym("11010519491231002X"));
    assert_ne!(one.pseudonym("110101199001011235"), shown);
    for other in [
        key("civil-affairs", "audit"),
        key("taxation", "benefits"),
        key("civil-affairsbenefits", ""),
        master(),
    ] {
        assert_ne!(other.pseudonym("110101199001011234"), shown);
    }
    assert_eq!(format!("{one:?}"), "PseudonymKey");
}

#[test]
fn a_column_of_another_type_is_a_fault_not_a_panic() {
    for column in batch().columns() {
        for mask in [Mask::KeepFirst(1), Mask::Year, Mask::Bucket(3), Mask::Bucket(0), Mask::RegionPrefix(2)]
        {
            let _ = mask.apply(column, &master());
        }
    }
    assert_eq!(Mask::Year.apply(batch().column(0), &master()).err(), Some(MaskFault));
    assert_eq!(Mask::KeepFirst(1).apply(batch().column(6), &master()).err(), Some(MaskFault));
}
