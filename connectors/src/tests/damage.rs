//! Damaged and hostile files: a typed error or an answer, never a panic, never a word of their contents.

use std::fs;

use catalog::FileFormat;

use super::*;

const QUERY: &str =
    "select count(*), max(id), sum(number), max(founded), sum(capital) from t where id > 'C0001'";

async fn poke(bench: &Bench, bytes: &[u8], what: &str) {
    fs::write(bench.path().join("d.parquet"), bytes).expect("write");
    let sources = bench.sources(SourceLimits::default());
    let asked = resource(files(FileFormat::Parquet, "d.parquet"), company_items());
    let outcomes = [
        ask(&sources, &asked, QUERY).await.err(),
        ask(&sources, &asked, "select count(*) from t").await.err(),
        sources.check(&asked).await.err(),
        match sources.open(&asked).await {
            Ok(source) => source.lookup("id", &["C0042".to_owned()], &[0, 1]).await.err(),
            Err(error) => Some(error),
        },
    ];
    for error in outcomes.into_iter().flatten() {
        let typed = matches!(
            error,
            SourceError::Unavailable(_)
                | SourceError::Mismatch(_)
                | SourceError::TooLarge(_)
                | SourceError::Changed
        );
        assert!(typed, "{what}: {error:?}");
        assert!(!error.to_string().contains("C00"), "{what}: {error}");
    }
    let left = fs::read_dir(bench.index.path()).expect("index");
    left.for_each(|entry| fs::remove_file(entry.expect("entry").path()).expect("remove"));
}

/// Panics are expected inside the decoder; their messages would bury those of a failing test.
fn quietly() {
    std::panic::set_hook(Box::new(|panic| {
        let ours = panic.location().is_none_or(|at| !at.file().contains(".cargo"));
        if ours {
            eprintln!("{panic}");
        }
    }));
}

#[tokio::test]
async fn a_truncated_file_is_unavailable() {
    quietly();
    let bench = Bench::new();
    write_parquet(&bench.path().join("whole.parquet"), 0..ROWS);
    let whole = fs::read(bench.path().join("whole.parquet")).expect("read");
    for cut in (0..whole.len()).step_by(997) {
        poke(&bench, &whole[..cut], &format!("cut at {cut}")).await;
        let asked = resource(files(FileFormat::Parquet, "d.parquet"), company_items());
        let opened = bench.sources(SourceLimits::default()).open(&asked).await;
        assert!(matches!(opened, Err(SourceError::Unavailable(_))), "cut at {cut}");
    }
}

#[tokio::test]
async fn flipped_bytes_never_panic() {
    quietly();
    let bench = Bench::new();
    write_parquet(&bench.path().join("whole.parquet"), 0..300);
    let whole = fs::read(bench.path().join("whole.parquet")).expect("read");
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Half of the flips hit the footer, where numbers steer the reader.
            let from = if round % 2 == 0 { bytes.len() * 3 / 4 } else { 0 };
            let at = from + (state >> 33) as usize % (bytes.len() - from);
            bytes[at] ^= (state >> 13) as u8 | 1;
        }
        poke(&bench, &bytes, &format!("round {round}")).await;
    }
}

#[tokio::test]
async fn broken_databases_and_text_files_are_typed_errors() {
    let bench = Bench::new();
    write_sqlite(&bench.path().join("whole.db"), 0..ROWS).await;
    let whole = fs::read(bench.path().join("whole.db")).expect("read");
    let bound = resource(
        Binding::Sqlite { path: "d.db".to_owned(), table: "the companies".to_owned() },
        company_items(),
    );
    for cut in (0..whole.len()).step_by(4_099) {
        fs::write(bench.path().join("d.db"), &whole[..cut]).expect("write");
        let answer = ask(&bench.sources(SourceLimits::default()), &bound, QUERY).await;
        assert!(
            matches!(answer, Err(SourceError::Unavailable(_) | SourceError::Mismatch(_))),
            "cut at {cut}: {answer:?}"
        );
    }
    for (text, ceiling) in [
        (format!("Company ID,number,founded,share,capital\n{}", "x".repeat(1 << 20)), true),
        (format!("Company ID,number,founded,share,capital\n\"{}", "x,\n".repeat(1 << 19)), true),
        ("x,".repeat(5_000), true),
        (String::new(), false),
        ("\u{0}\u{0}\u{0}".to_owned(), false),
    ] {
        fs::write(bench.path().join("d.csv"), &text).expect("write");
        let asked = resource(files(FileFormat::Csv, "d.csv"), company_items());
        let limits = SourceLimits { line_bytes_max: 1 << 18, ..SourceLimits::default() };
        let answer = ask(&bench.sources(limits), &asked, QUERY).await;
        let fits = match &answer {
            Err(SourceError::TooLarge(_)) => ceiling,
            Err(SourceError::Unavailable(_) | SourceError::Mismatch(_)) => !ceiling,
            _ => false,
        };
        assert!(fits, "{:?}: {answer:?}", text.get(..20));
    }
}

#[tokio::test]
async fn ceilings_hold_for_parquet() {
    let bench = Bench::new();
    three_bindings(&bench).await;
    let asked = resource(files(FileFormat::Parquet, "market/parts"), company_items());
    for limits in [
        SourceLimits { files_max: 1, ..SourceLimits::default() },
        SourceLimits { columns_max: 3, ..SourceLimits::default() },
        SourceLimits { footer_bytes_max: 100, ..SourceLimits::default() },
        SourceLimits { row_group_bytes_max: 100, ..SourceLimits::default() },
        SourceLimits { index_rows_max: 999, ..SourceLimits::default() },
    ] {
        let checked = bench.sources(limits.clone()).check(&asked).await;
        assert!(matches!(checked, Err(SourceError::TooLarge(_))), "{limits:?}: {checked:?}");
    }
}
