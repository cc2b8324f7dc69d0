//! A PostgreSQL server that is away, hangs, is cut off or is not the one it should be: an error in time, nothing kept, back by itself.

use std::time::{Duration, Instant};

use super::*;

fn numbers() -> Resource {
    table("numbers", &[("n", ItemType::Integer)])
}

const NUMBERS: &str = "CREATE VIEW numbers AS SELECT generate_series(1, 50000000)::int8 AS n; CREATE TABLE small AS SELECT 1::int8 AS n;\
    CREATE VIEW slow AS WITH RECURSIVE c(n) AS (SELECT 1::int8 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c WHERE n < 0;";

/// Waits until the hub's account has this many backends in the database.
async fn backends(base: &Base, count_max: i64) {
    let mut owner = base.owner().await;
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND usename = 'hub' AND state <> 'idle'",
        base.name
    );
    let gone = async {
        loop {
            let count: i64 =
                sqlx::query_scalar(AssertSqlSafe(asked.clone())).fetch_one(&mut owner).await.expect("asked");
            if count <= count_max {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the statement of nobody still runs");
}

#[tokio::test]
async fn a_dropped_scan_stops_its_statement_and_gives_its_seat_back() {
    let base = Base::new(NUMBERS).await;
    let sources = base.sources_with(SourceLimits::default(), |connection| connection.connections_max = 1);
    for _ in 0..3 {
        let sql = "select count(*) as c from (select n from t where n % 2 = 1 limit 3)";
        assert!(ask(&sources, &numbers(), sql).await.expect("answer").contains("| 3 |"));
    }
    backends(&base, 0).await;
    // One that computes and sends nothing is stopped too.
    let source = sources.open(&table("slow", &[("n", ItemType::Integer)])).await.expect("open");
    let session = SessionContext::new();
    session.register_table("t", source.table()).expect("register");
    let asked = session.sql("select n from t").await.expect("sql");
    tokio::time::timeout(Duration::from_millis(500), asked.collect())
        .await
        .expect_err("it would take minutes");
    backends(&base, 0).await;
}

/// `TONGQU_POSTGRES_ROWS=5000000 cargo test -p connectors a_long_table -- --nocapture` prints the memory it took.
#[tokio::test]
async fn a_long_table_streams_in_small_batches() {
    let rows =
        std::env::var("TONGQU_POSTGRES_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(100_000_u64);
    let base = Base::new(&format!(
        "CREATE VIEW long AS SELECT n::int8, repeat(md5(n::text), 8) AS s FROM generate_series(1, {rows}) AS n"
    ))
    .await;
    let source = base.sources(SourceLimits::default());
    let source =
        source.open(&table("long", &[("n", ItemType::Integer), ("s", ItemType::Text)])).await.expect("open");
    let session = SessionContext::new();
    let plan = source.table().scan(&session.state(), None, &[], None).await.expect("plan");
    let mut stream = plan.execute(0, session.task_ctx()).expect("stream");
    let (mut read, mut largest) = (0, 0);
    while let Some(batch) = futures::StreamExt::next(&mut stream).await {
        let batch = batch.expect("a batch");
        read += batch.num_rows() as u64;
        largest = largest.max(batch.get_array_memory_size());
    }
    assert_eq!(read, rows);
    assert!(largest < 16 << 20, "{largest} bytes in one batch");
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("?");
    println!("{rows} rows of 270 bytes, largest batch {largest} bytes, {peak}");
}

#[tokio::test]
async fn a_statement_ends_at_its_time_and_joins_need_one_connection() {
    let base = Base::new(NUMBERS).await;
    let sources = base.sources_with(SourceLimits::default(), |connection| {
        connection.statement_timeout_ms = 300;
        connection.connections_max = 1;
    });
    let started = Instant::now();
    let slow = ask(&sources, &table("slow", &[("n", ItemType::Integer)]), "select n from t").await;
    assert!(matches!(slow, Err(SourceError::Deadline)), "{slow:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
    let small = table("small", &[("n", ItemType::Integer)]);
    let joined = ask(&sources, &small, "select count(*) as c from t a join t b on a.n = b.n").await;
    assert!(joined.expect("joined").contains("| 1 |"));
    let many = (0..20).map(|_| ask(&sources, &small, "select n from t"));
    assert!(futures::future::join_all(many).await.iter().all(Result::is_ok));
    backends(&base, 0).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_to_nobody_and_a_right_one_counts_at_once() {
    let base = Base::new(NUMBERS).await;
    let small = table("small", &[("n", ItemType::Integer)]);
    let sources = base.sources(SourceLimits::default());
    fs::write(base.folder.path().join("password"), "CANARY-secret").expect("written");
    let error = sources.check(&small).await.expect_err("refused");
    assert!(matches!(error, SourceError::Unavailable(_)), "{error:?}");
    let told = format!("{error} {error:?} {sources:?} {:?}", base.connection());
    for secret in ["CANARY-secret", PASSWORD, "password authentication", "hub\""] {
        assert!(!told.replace("user: \"hub\"", "").contains(secret), "{told}");
    }
    fs::write(base.folder.path().join("password"), PASSWORD).expect("written");
    sources.check(&small).await.expect("without a restart");
    fs::remove_file(base.folder.path().join("password")).expect("removed");
    sources.check(&small).await.expect("an open connection is used again");
    base.sources(SourceLimits::default()).check(&small).await.expect_err("no password, no new connection");
}

#[tokio::test]
async fn tls_is_for_the_right_name_by_the_right_authority_or_not_at_all() {
    let base = Base::new(NUMBERS).await;
    let small = table("small", &[("n", ItemType::Integer)]);
    for (host, ca, good) in [
        ("localhost", "ca.pem", true),
        ("localhost", "other.pem", false),
        ("127.0.0.1", "ca.pem", false),
        ("localhost", "missing.pem", false),
    ] {
        let sources = base.sources_with(SourceLimits::default(), |connection| {
            connection.host = host.to_owned();
            connection.tls = PostgresTls::VerifyFull { ca_file: base.server.folder.join(ca) };
        });
        let checked = sources.check(&small).await;
        assert_eq!(checked.is_ok(), good, "{host} {ca}: {checked:?}");
    }
    base.run("CREATE VIEW ways AS SELECT ssl::text AS s FROM pg_stat_ssl WHERE pid = pg_backend_pid(); GRANT SELECT ON ways TO hub").await;
    let sources = base.sources_with(SourceLimits::default(), |connection| {
        connection.host = "localhost".to_owned();
        connection.tls = PostgresTls::VerifyFull { ca_file: base.server.folder.join("ca.pem") };
    });
    let shown =
        ask(&sources, &table("ways", &[("s", ItemType::Text)]), "select s from t").await.expect("ways");
    assert!(shown.contains("true"), "{shown}");
}

/// A server of its own, since others would be cut off too.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_or_hangs_is_an_error_in_time_and_back_by_itself() {
    let server: &'static PostgresServer = Box::leak(Box::new(PostgresServer::start()));
    let base = Base::at(server, "rough", NUMBERS).await;
    let small = table("small", &[("n", ItemType::Integer)]);
    let sources = base.sources_with(SourceLimits::default(), |connection| {
        connection.connect_timeout_ms = 2_000;
        connection.statement_timeout_ms = 20_000;
    });
    let n = async || ask(&sources, &small, "select n from t").await;
    n().await.expect("up");
    // Cut off in mid-stream: some rows came, then an error, never a short answer.
    let source = sources.open(&numbers()).await.expect("open");
    let session = SessionContext::new();
    let plan = source.table().scan(&session.state(), None, &[], None).await.expect("plan");
    let mut rows = plan.execute(0, session.task_ctx()).expect("stream");
    let first = futures::StreamExt::next(&mut rows).await.expect("a batch").expect("rows");
    assert!(first.num_rows() > 0);
    server.order("stop");
    let mut failed = false;
    while let Some(batch) = futures::StreamExt::next(&mut rows).await {
        failed |= batch.is_err();
    }
    assert!(failed, "a stream that was cut off must not end well");
    assert!(matches!(n().await, Err(SourceError::Unavailable(_))), "down");
    server.order("start");
    n().await.expect("back by itself");
    server.order("hang");
    let started = Instant::now();
    let hung = n().await;
    let took = started.elapsed();
    server.order("wake");
    assert!(matches!(hung, Err(SourceError::Unavailable(_))), "{hung:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    n().await.expect("awake");
    // Stopped at the end by dropping what leaks otherwise.
    server.order("stop");
}
