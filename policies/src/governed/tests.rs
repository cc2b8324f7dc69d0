//! The barrier against careless, talkative and stopped sources.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::DataFusionError;
use datafusion_common::ScalarValue;
use datafusion_execution::TaskContext;
use datafusion_expr::{cast, col, in_list, lit};
use datafusion_physical_plan::{collect, displayable};
use futures::StreamExt;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{batch, caller, master, resource, terms};

fn sight(change: Value) -> Arc<Sight> {
    Arc::new(Sight::new(&resource(), &terms(change), &caller(&[]), &master()).unwrap())
}

fn go_on() -> Check {
    Arc::new(|| Ok(()))
}

fn memory(batches: Vec<RecordBatch>) -> Arc<dyn TableProvider> {
    Arc::new(MemTable::try_new(resource().schema(), vec![batches]).unwrap())
}

fn session(table: GovernedTable) -> SessionContext {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    session.register_table("t", Arc::new(table)).unwrap();
    session
}

#[test]
fn only_leak_proof_predicates_go_below() {
    let sight = sight(json!({"output": [
        {"item": "name"}, {"item": "salary"}, {"item": "active"}, {"item": "birth_date"},
        {"item": "residence_code", "mask": {"keep_first": 2}}, {"item": "balance", "mask": {"bucket": 5}},
    ]}));
    let check = |expr: Expr, expect: bool| assert_eq!(leakproof::leakproof(&expr, &sight), expect, "{expr}");
    let five = || lit(5_i64);
    for yes in [
        col("salary").eq(five()),
        five().lt(col("t.salary")),
        col("salary").not_eq(five()).and(col("name").gt_eq(lit("x"))).or(col("active")),
        col("salary").between(five(), lit(7_i64)),
        in_list(col("name"), vec![lit("a"), lit("b")], true),
        col("name").is_null(),
        col("birth_date").is_not_null(),
        Expr::Not(Box::new(col("active").is_true())),
        col("birth_date").lt(lit(ScalarValue::Date32(Some(1)))),
        col("salary").eq(lit(ScalarValue::Int64(None))),
    ] {
        check(yes, true);
    }
    for no in [
        // Another type needs a cast, and a cast can fail.
        col("salary").eq(lit(5_i32)),
        col("salary").eq(lit(5.0)),
        col("salary").eq(lit(ScalarValue::Null)),
        cast(col("name"), arrow::datatypes::DataType::Int64).eq(five()),
        (five() / col("salary")).eq(five()),
        (col("salary") + five()).eq(five()),
        col("salary").eq(col("salary")),
        col("name").like(lit("x%")),
        col("salary").eq(five()).and((five() / col("salary")).eq(five())),
        in_list(col("salary"), vec![five(), five() / five()], false),
        // Masked, not output, unknown.
        col("residence_code").eq(lit("64")),
        col("balance").is_null(),
        col("sex").eq(lit("1")),
        col("nosuch").is_null(),
        col("name"),
        lit(true),
        Expr::Negative(Box::new(col("salary"))).eq(five()),
    ] {
        check(no, false);
    }
}

#[tokio::test]
async fn the_plan_shows_a_leaf_and_nothing_below() {
    let scope = json!({"not": {"compare": {"item": "name", "op": "=", "value": "CANARY"}}});
    let table = GovernedTable::new(sight(json!({"scope": scope})), memory(vec![batch()]), go_on());
    assert!(is_governed(&table) && !is_governed(memory(vec![]).as_ref()));
    assert_eq!(table.table_type(), TableType::Base);
    assert!(
        table.get_logical_plan().is_none()
            && table.get_table_definition().is_none()
            && table.statistics().is_none()
    );
    let session = session(table);
    let plan = session.sql("select name from t where salary = 100 and 1/salary > 0").await.unwrap();
    let shown = format!("{}\n{plan:?}", plan.logical_plan().display_indent_schema());
    let physical = plan.create_physical_plan().await.unwrap();
    let shown = format!("{shown}\n{}\n{physical:?}", displayable(physical.as_ref()).indent(true));
    assert!(
        shown.contains("BarrierExec") && !shown.contains("CANARY") && !shown.contains("DataSource"),
        "{shown}"
    );
    let source = provider_as_source(session.table_provider("t").await.unwrap());
    assert!(is_governed_source(&source));
}

#[tokio::test]
async fn a_plan_that_is_reset_runs_again_below() {
    let twice = vec![batch(), batch()];
    let scope = json!({"not": {"is_null": "salary"}});
    let session = session(GovernedTable::new(sight(json!({"scope": scope})), memory(twice), go_on()));
    let plan = session.sql("select name from t order by salary limit 2").await.unwrap();
    let physical = plan.create_physical_plan().await.unwrap();
    for _ in 0..3 {
        let fresh =
            datafusion_physical_plan::execution_plan::reset_plan_states(Arc::clone(&physical)).unwrap();
        let batches = collect(fresh, session.task_ctx()).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    }
}

#[tokio::test]
async fn the_check_stops_a_running_stream() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // Planning and opening ask once each, then every batch does twice: governed, and on its way out.
    let check: Check =
        Arc::new(
            move || {
                if counted.fetch_add(1, Ordering::SeqCst) < 6 { Ok(()) } else { Err(Stop::Revoked) }
            },
        );
    let full = many(cut::ROWS_MAX / batch().num_rows());
    let table = GovernedTable::new(sight(json!({})), memory(vec![full; 5]), check);
    let config = SessionConfig::new().with_target_partitions(1).with_coalesce_batches(false);
    let session = SessionContext::new_with_config(config);
    let plan = table.scan(&session.state(), None, &[], None).await.unwrap();
    let mut stream = plan.execute(0, session.task_ctx()).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_ok());
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Stopped(Stop::Revoked)));
    let error = table.scan(&session.state(), None, &[], None).await.unwrap_err();
    assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Stopped(Stop::Revoked)));
}

#[tokio::test]
async fn large_batches_are_cut() {
    let table = GovernedTable::new(sight(json!({})), memory(vec![many(5_000)]), go_on());
    let session = SessionContext::new();
    let plan = table.scan(&session.state(), None, &[], None).await.unwrap();
    let batches = collect(plan, session.task_ctx()).await.unwrap();
    assert_eq!(sizes(&batches), [8_192, 8_192, 3_616]);
}

/// The fixture's rows so many times, in one batch.
fn many(times: usize) -> RecordBatch {
    arrow::compute::concat_batches(&resource().schema(), &vec![batch(); times]).unwrap()
}

fn sizes(batches: &[RecordBatch]) -> Vec<usize> {
    batches.iter().map(RecordBatch::num_rows).collect()
}

#[tokio::test]
async fn where_batches_end_is_told_by_visible_rows_alone() {
    let scope = json!({"compare": {"item": "name", "op": "like_prefix", "value": "张"}});
    // The same 10,000 visible rows: close together, far apart, and with hidden ones before them.
    let hidden = batch().slice(1, 1);
    let sparse: Vec<RecordBatch> = (0..10_000).flat_map(|_| [batch(), hidden.clone()]).collect();
    let sparse = arrow::compute::concat_batches(&resource().schema(), &sparse).unwrap();
    for source in [vec![batch().slice(0, 1); 10_000], vec![many(10_000)], vec![sparse]] {
        let table = GovernedTable::new(sight(json!({"scope": scope})), memory(source), go_on());
        for (limit, expect) in [(None, vec![8_192, 1_808]), (Some(4_000), vec![4_000, 4_000, 2_000])] {
            let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
            let plan = table.scan(&session.state(), None, &[], limit).await.unwrap();
            let batches = collect(plan, session.task_ctx()).await.unwrap();
            assert_eq!(sizes(&batches), expect);
        }
    }
}

#[test]
fn few_large_cells_end_a_batch_wherever_their_pieces_end() {
    let texts = arrow::array::StringArray::from_iter_values((0..400).map(|_| "x".repeat(60 * 1024)));
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as arrow::array::ArrayRef)]).unwrap();
    let cut = |piece_rows: usize| {
        let mut cutter = cut::Cutter::new(batch.schema(), None);
        for from in (0..400).step_by(piece_rows) {
            cutter.push(&batch.slice(from, piece_rows.min(400 - from))).unwrap();
        }
        cutter.finish().unwrap();
        sizes(&std::iter::from_fn(|| cutter.next()).collect::<Vec<_>>())
    };
    for piece_rows in [1, 7, 137, 400] {
        assert_eq!(cut(piece_rows), [137, 137, 126], "{piece_rows}");
    }
}

/// A source that fails where it is told to, and says too much.
#[derive(Debug)]
struct Talkative {
    at_scan: bool,
}

#[async_trait]
impl TableProvider for Talkative {
    fn schema(&self) -> SchemaRef {
        resource().schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.at_scan {
            return Err(DataFusionError::Execution("CANARY /srv/secret".to_owned()));
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        let partition = Arc::new(Broken(schema));
        let plan = datafusion_physical_plan::streaming::StreamingTableExec::try_new(
            Arc::clone(&partition.0),
            vec![partition],
            None,
            vec![],
            false,
            None,
        )?;
        Ok(Arc::new(plan))
    }
}

#[derive(Debug)]
struct Broken(SchemaRef);

impl datafusion_physical_plan::streaming::PartitionStream for Broken {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> datafusion_execution::SendableRecordBatchStream {
        let failed = futures::stream::iter([Err(DataFusionError::Execution("CANARY at row 7".to_owned()))]);
        let schema = Arc::clone(&self.0);
        Box::pin(datafusion_physical_plan::stream::RecordBatchStreamAdapter::new(schema, failed))
    }
}

#[tokio::test]
async fn a_failing_source_tells_nothing() {
    for at_scan in [true, false] {
        let session = session(GovernedTable::new(sight(json!({})), Arc::new(Talkative { at_scan }), go_on()));
        let error =
            session.sql("select count(*), min(name) from t").await.unwrap().collect().await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("CANARY") && told.contains("could not be read"), "{told}");
        assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Source));
    }
}

#[tokio::test]
async fn a_source_of_another_schema_is_refused() {
    let batch = batch().project(&[0, 1]).unwrap();
    let source = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    let table = GovernedTable::new(sight(json!({})), Arc::new(source), go_on());
    let error = table.scan(&SessionContext::new().state(), None, &[], None).await.unwrap_err();
    assert_eq!(BarrierFault::of(&error), Some(BarrierFault::Shape));
    let good = GovernedTable::new(sight(json!({})), memory(vec![]), go_on());
    let oracle = (lit(1_i64) / col("salary")).eq(lit(1_i64));
    assert!(good.scan(&SessionContext::new().state(), None, &[oracle], None).await.is_err());
}

/// A source that says it filtered exactly and did not, as one with other collations might.
#[derive(Debug)]
struct Careless(Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for Careless {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        assert_eq!(limit, None, "a limit must not reach a source below a scope");
        self.0.scan(session, projection, &[], limit).await
    }
}

#[tokio::test]
async fn the_hub_judges_the_scope_itself() {
    let scope = json!({"compare": {"item": "name", "op": "like_prefix", "value": "张"}});
    let source = Arc::new(Careless(memory(vec![batch(), batch()])));
    let session = session(GovernedTable::new(sight(json!({"scope": scope})), source, go_on()));
    for (sql, expect) in [
        ("select count(*) from t", 2),
        ("select count(*) from t where 1/(salary-200) < 5", 2),
        ("select count(*) from (select name from t limit 2)", 2),
        ("select count(*) from (select name from t limit 1)", 1),
        ("select max(salary) from t", 100),
    ] {
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        let answer = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(answer, expect, "{sql}");
    }
}

#[tokio::test]
async fn scope_and_leak_proof_filters_prune_parquet() {
    let folder = std::env::temp_dir().join(format!("tongqu-governed-{}", std::process::id()));
    let path = folder.join("resident.parquet");
    let path = path.to_str().unwrap();
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false);
    let session = SessionContext::new_with_config(config);
    let written = session.read_batch(batch()).unwrap().write_parquet(path, Default::default(), None);
    written.await.unwrap();
    let options = datafusion::prelude::ParquetReadOptions::default();
    session.register_parquet("raw", path, options).await.unwrap();
    let source = session.table_provider("raw").await.unwrap();

    let scope = json!({"compare": {"item": "region", "op": "like_prefix", "value": "64"}});
    let table = GovernedTable::new(sight(json!({"scope": scope})), source, go_on());
    let below = table.below(&[1], &[col("t.salary").gt_eq(lit(200_i64))], None).unwrap();
    let inner = session.state().create_physical_plan(&below).await.unwrap();
    let shown = displayable(inner.as_ref()).indent(true).to_string();
    for part in ["region_max@", ">= 64", "region_min@", "< 65", "salary_max@", ">= 200"] {
        assert!(shown.contains("pruning_predicate=") && shown.contains(part), "{part} in {shown}");
    }
    session.register_table("t", Arc::new(table)).unwrap();
    let answer = session.sql("select name, salary from t where salary >= 200").await.unwrap();
    assert_eq!(answer.collect().await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}
