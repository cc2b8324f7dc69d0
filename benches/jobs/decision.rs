//! Job 9: one decision with 100, 1,000 and 100,000 grants in the store, against raw Cedar with one policy a grant.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use catalog::ResourceName;
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use policies::ask::{Ask, Standing};
use policies::{Caller, Operation};
use sqlx::Connection as _;
use tongqu::clock::Clock;
use tongqu::config::Config;
use tongqu::hub::Hub;

use crate::client::{Rate, rate};
use crate::hub::{OPERATOR, tokens};
use crate::report::{Figures, Report};
use crate::{Options, hub};

const SIZES: [(usize, &str, &str); 3] = [
    (100, "hub: 100 grants", "Cedar: 100 policies"),
    (1_000, "hub: 1,000 grants", "Cedar: 1,000 policies"),
    (100_000, "hub: 100,000 grants", "Cedar: 100,000 policies"),
];
const RESOURCE: &str = "population.resident";

pub fn job_9(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::default();
    let mut hubs = Vec::new();
    for (count, ours, theirs) in SIZES {
        let folder = tempfile::Builder::new().prefix("decision").tempdir_in(&options.dir)?;
        let small = Options { dir: folder.path().to_owned(), residents: 1_000, ..options.clone() };
        let hub = runtime.block_on(open(&small, count))?;
        hubs.push((hub, cedar(count)?, ours, theirs, folder));
    }
    for round in 0..=options.rounds {
        for ((hub, caller), cedar, ours, theirs, _folder) in &hubs {
            let length = Duration::from_millis(500);
            let mine = runtime.block_on(decide_for(hub, caller, length))?;
            let raw = cedar_for(cedar, length)?;
            eprintln!("job 9, round {round}: {ours} {mine}; {theirs} {raw}");
            if round > 0 {
                figures.add(ours, mine);
                figures.add(theirs, raw);
            }
        }
    }
    for (count, ours, theirs) in SIZES {
        // With few grants both are quick; what a rule engine cannot do is many.
        let (hold, goal) = if count == 100_000 { (50.0, 500.0) } else { (0.0, 1.0) };
        report.ratio("9", ours, theirs, hold, goal, &figures);
    }
    let micros = figures.median_p50_ms(SIZES[2].1) * 1e3;
    report.at_most("9", "p50 of a decision with 100,000 grants, µs", micros, f64::INFINITY, 10.0);
    report.note(
        "job 9: in process, one thread; all grants belong to the asking department, each for another resource; \
         from the store's grants to a permit with its sight, as a call does it; the law's own rules are evaluated"
            .to_owned(),
    );
    report.job("Job 9: decisions", figures);
    for ((hub, _), ..) in hubs {
        runtime.block_on(hub.close(Duration::from_secs(5)));
    }
    Ok(())
}

/// A hub in this process whose store holds so many grants of the asking department.
async fn open(options: &Options, count: usize) -> anyhow::Result<(std::sync::Arc<Hub>, Caller)> {
    let directory = hub::demo(options)?;
    let store = directory.join("store.sqlite");
    let mut store =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", store.to_str().context("a path")?)).await?;
    // Copies of the grant that the story made, each for another resource.
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO grant_version SELECT 'grant_' || printf('%032x', i), 1, 'app_bench_' || i, 'bench.resource_' || i,
           grantee, provider, 'active', 0, terms, signed_by, signed_us, text_sha256, revision
         FROM n, (SELECT * FROM grant_version WHERE resource = $2 AND grantee = 'civil-affairs' ORDER BY id LIMIT 1)",
    )
    .bind(i64::try_from(count)?)
    .bind(RESOURCE)
    .execute(&mut store)
    .await?;
    store.close().await?;
    let hub = Hub::open(Config::read(&directory.join("tongqu.toml"))?, Clock::system()).await?;
    let token = tokens(&directory)?.remove(OPERATOR).context("no token")?;
    let caller = hub.authn.caller(&hub.store, Some(&format!("Bearer {token}")), None).await;
    Ok((hub, caller.map_err(|error| anyhow::anyhow!("{error}"))?))
}

/// Decisions for so long.
async fn decide_for(hub: &Hub, caller: &Caller, length: Duration) -> anyhow::Result<Rate> {
    let name = ResourceName(RESOURCE.to_owned());
    let published = hub.store.resource(&name).await?.context("no resource")?;
    let standing = Standing::Operator(caller.account().to_owned());
    let (start, mut took) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        let begun = Instant::now();
        let grants = hub.store.grants(caller.department(), &name).await?;
        let ask = Ask {
            operation: Operation::Query,
            purpose: "minimum-living-allowance",
            case_named: true,
            standing: Some(&standing),
            resource: &published.resource,
            resource_version: published.version,
            beside: Vec::new(),
            now_us: hub.clock.now_us(),
            deadline_us: i64::MAX,
        };
        let permitted = grants
            .iter()
            .any(|stored| black_box(stored.decide(&hub.law, caller, &ask, &hub.pseudonyms)).is_ok());
        took.push(begun.elapsed());
        ensure!(permitted, "the grant does not permit");
    }
    Ok(rate(took, start.elapsed()))
}

struct Cedar {
    policies: PolicySet,
    request: Request,
}

/// One policy a grant, as a deployment without facts would write it.
fn cedar(count: usize) -> anyhow::Result<Cedar> {
    let policy = |number: usize, resource: &str| {
        format!(
            "@id(\"grant_{number}\")\npermit (principal == Department::\"civil-affairs\", action == Action::\"query\", \
             resource == Resource::\"{resource}\") when {{ context.purpose == \"minimum-living-allowance\" && \
             context.now >= 1 && context.now < 9000000000000000 && context.case_named }};\n"
        )
    };
    let mut text: String =
        (1..count).map(|number| policy(number, &format!("bench.resource_{number}"))).collect();
    text.push_str(&policy(count, RESOURCE));
    let context = Context::from_json_value(
        serde_json::json!({"purpose": "minimum-living-allowance", "now": 1_780_272_000_000_000_i64, "case_named": true}),
        None,
    )?;
    let id = |text: &str| text.parse::<EntityUid>().map_err(Box::new);
    let request = Request::new(
        id("Department::\"civil-affairs\"")?,
        id("Action::\"query\"")?,
        id(&format!("Resource::\"{RESOURCE}\""))?,
        context,
        None,
    )?;
    Ok(Cedar { policies: text.parse()?, request })
}

fn cedar_for(cedar: &Cedar, length: Duration) -> anyhow::Result<Rate> {
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    let (start, mut took) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        let begun = Instant::now();
        let response = black_box(authorizer.is_authorized(&cedar.request, &cedar.policies, &entities));
        took.push(begun.elapsed());
        ensure!(response.decision() == Decision::Allow, "raw Cedar refuses");
    }
    Ok(rate(took, start.elapsed()))
}
