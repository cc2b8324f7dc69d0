//! Damaged and hostile Arrow files: a typed error or an answer, within the ceilings, never a panic.

use std::fs;

use arrow::{
    array::{Int64Array, NullArray},
    compute::concat_batches,
    ipc::writer::DictionaryHandling,
};
use catalog::FileFormat;

use super::*;

const QUERY: &str =
    "select count(*), max(id), sum(number), max(founded), sum(capital) from t where id > 'C0001'";

async fn told(
    bench: &Bench,
    bytes: &[u8],
    items: Vec<Item>,
    limits: SourceLimits,
) -> Result<String, SourceError> {
    fs::write(bench.path().join("d.arrow"), bytes).expect("write");
    let asked = resource(files(FileFormat::Arrow, "d.arrow"), items);
    ask(&bench.sources(limits), &asked, QUERY).await
}

fn typed(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::Unavailable(_)
            | SourceError::Mismatch(_)
            | SourceError::TooLarge(_)
            | SourceError::Changed
    )
}

fn whole(bench: &Bench, options: IpcWriteOptions, stream: bool) -> Vec<u8> {
    let path = bench.path().join("whole.arrow");
    write_arrow(&path, 0..300, options, stream);
    fs::read(path).expect("read")
}

#[tokio::test]
async fn a_cut_off_file_or_stream_is_unavailable_wherever_it_is_cut() {
    let bench = Bench::new();
    for stream in [false, true] {
        let whole = whole(&bench, IpcWriteOptions::default(), stream);
        let limits = SourceLimits::default;
        told(&bench, &whole, company_items(), limits()).await.expect("whole");
        let cuts = (0..whole.len()).step_by(211).chain(whole.len() - 17..whole.len());
        for cut in cuts {
            let outcome = told(&bench, &whole[..cut], company_items(), limits()).await;
            assert!(outcome.as_ref().is_err_and(typed), "cut at {cut} of {}: {outcome:?}", whole.len());
        }
        let longer = [&whole[..], b"more"].concat();
        assert!(told(&bench, &longer, company_items(), limits()).await.is_err_and(|error| typed(&error)));
    }
}

#[tokio::test]
async fn flipped_bytes_never_panic_nor_take_memory() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.location().is_none_or(|at| !at.file().contains(".cargo")) {
            eprintln!("{panic}");
        }
    }));
    let bench = Bench::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for (options, stream) in [
        (IpcWriteOptions::default(), false),
        (packed(CompressionType::LZ4_FRAME), true),
        (packed(CompressionType::ZSTD), false),
    ] {
        let whole = whole(&bench, options, stream);
        for round in 0..70 {
            let mut bytes = whole.clone();
            for _ in 0..=round % 3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] ^= (state >> 13) as u8 | 1;
            }
            if let Err(error) = told(&bench, &bytes, company_items(), SourceLimits::default()).await {
                assert!(typed(&error), "{stream} round {round}: {error:?}");
                assert!(!error.to_string().contains("C00"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn ceilings_hold_for_arrow() {
    let bench = Bench::new();
    let small = |bytes| SourceLimits { arrow_batch_bytes_max: bytes, ..SourceLimits::default() };
    for (options, name) in [
        (IpcWriteOptions::default(), "plain"),
        (packed(CompressionType::LZ4_FRAME), "lz4"),
        (packed(CompressionType::ZSTD), "zstd"),
    ] {
        // 8 MB of zeros are a few bytes when they are packed.
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 1 << 20]));
        let batch = RecordBatch::try_from_iter_with_nullable([("number", zeros, true)]).expect("batch");
        let bytes = arrow_bytes(&[batch], options, true);
        let items =
            || vec![item("number", ItemType::Integer, None), item("id", ItemType::Integer, Some("number"))];
        fs::write(bench.path().join("d.arrow"), &bytes).expect("write");
        let asked = resource(files(FileFormat::Arrow, "d.arrow"), items());
        let count = "select count(number) as n from t";
        let outcome = ask(&bench.sources(small(4 << 20)), &asked, count).await;
        assert!(matches!(outcome, Err(SourceError::TooLarge(_))), "{name}: {outcome:?}");
        let outcome = ask(&bench.sources(small(32 << 20)), &asked, count).await.expect(name);
        assert!(outcome.contains("1048576"), "{name}: {outcome}");
    }
    let whole = whole(&bench, IpcWriteOptions::default(), false);
    for limits in [
        SourceLimits { columns_max: 3, ..SourceLimits::default() },
        SourceLimits { footer_bytes_max: 100, ..SourceLimits::default() },
        SourceLimits { line_bytes_max: 3, ..SourceLimits::default() },
        small(1_000),
    ] {
        let outcome = told(&bench, &whole, company_items(), limits.clone()).await;
        assert!(matches!(outcome, Err(SourceError::TooLarge(_))), "{limits:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_lz4_frame_that_gives_more_than_it_claims_is_damaged() {
    let bench = Bench::new();
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 1 << 20]));
    let batch = RecordBatch::try_from_iter_with_nullable([("number", zeros, true)]).expect("batch");
    let mut bytes = arrow_bytes(&[batch], packed(CompressionType::LZ4_FRAME), true);
    let claimed = (8_i64 << 20).to_le_bytes();
    let at = bytes.windows(8).position(|window| window == claimed).expect("the claim");
    bytes[at..at + 8].copy_from_slice(&64_i64.to_le_bytes());
    fs::write(bench.path().join("d.arrow"), &bytes).expect("write");
    let asked = resource(files(FileFormat::Arrow, "d.arrow"), vec![item("number", ItemType::Integer, None)]);
    let source = bench.sources(SourceLimits::default()).open(&asked).await.expect("open");
    let session = SessionContext::new();
    let plan = source.table().scan(&session.state(), None, &[], None).await.expect("plan");
    let error = datafusion::physical_plan::collect(plan, session.task_ctx()).await.expect_err("damaged");
    // What comes after would find that something is wrong too, but only when all is unpacked.
    let Some(SourceError::Unavailable(cause)) = SourceError::of(&error) else { panic!("{error}") };
    assert!(cause.to_string().contains("larger than it says"), "{cause}");
}

#[tokio::test]
async fn one_long_text_shown_by_many_keys_is_not_written_out_at_once() {
    let bench = Bench::new();
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
    let ids = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 20_000]), long);
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", Arc::new(ids) as ArrayRef, true)]).expect("batch");
    fs::write(bench.path().join("d.arrow"), arrow_bytes(&[batch], IpcWriteOptions::default(), false))
        .expect("write");
    let asked = resource(files(FileFormat::Arrow, "d.arrow"), vec![item("id", ItemType::Text, None)]);
    let source = bench.sources(SourceLimits::default()).open(&asked).await.expect("open");
    let session = SessionContext::new();
    let plan = source.table().scan(&session.state(), None, &[], Some(9)).await.expect("plan");
    let rows = datafusion::physical_plan::collect(plan, session.task_ctx()).await.expect("rows");
    assert!(rows.iter().all(|batch| batch.get_array_memory_size() < 16 << 20));
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 9);
}

#[tokio::test]
async fn rows_without_bytes_are_counted_and_not_made_at_once() {
    let bench = Bench::new();
    let nothing: ArrayRef = Arc::new(NullArray::new(100_000));
    let batch = RecordBatch::try_from_iter_with_nullable([("number", nothing, true)]).expect("batch");
    fs::write(bench.path().join("d.arrow"), arrow_bytes(&[batch], IpcWriteOptions::default(), true))
        .expect("write");
    let asked = resource(files(FileFormat::Arrow, "d.arrow"), vec![item("number", ItemType::Integer, None)]);
    let shown =
        ask(&bench.sources(SourceLimits::default()), &asked, "select count(*), count(number) from t").await;
    assert!(shown.expect("answer").contains("| 100000   | 0 "));
}

#[tokio::test]
async fn dictionaries_that_grow_are_read_to_their_end() {
    let bench = Bench::new();
    let part = |texts: &[&str]| {
        let ids: DictionaryArray<Int32Type> = texts.iter().copied().map(Some).collect();
        RecordBatch::try_from_iter_with_nullable([("id", Arc::new(ids) as ArrayRef, true)]).expect("batch")
    };
    let batches = [part(&["a", "b"]), part(&["a", "b", "c"]), part(&["z"])];
    let expect = concat_batches(&batches[0].schema(), &batches).expect("all").num_rows();
    for handling in [DictionaryHandling::Delta, DictionaryHandling::Resend] {
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        fs::write(bench.path().join("d.arrow"), arrow_bytes(&batches, options, true)).expect("write");
        let asked = resource(files(FileFormat::Arrow, "d.arrow"), vec![item("id", ItemType::Text, None)]);
        let sources = bench.sources(SourceLimits::default());
        let shown =
            ask(&sources, &asked, "select count(*) as n, max(id) as m, count(distinct id) as d from t").await;
        assert!(shown.expect("answer").contains(&format!("| {expect} | z | 4 |")));
    }
}
