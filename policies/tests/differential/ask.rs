//! One statement asked on both sides, and what must hold of the two answers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_catalog::TableProvider;
use datafusion_physical_plan::displayable;
use policies::{GovernedTable, Sight};

use super::reference;
use super::world::{World, caller, master};

/// What no answer, error or plan may hold.
pub const CANARY: &str = "CANARY";

/// The governed side and the copy, with the same tables by the same names.
pub struct Sides {
    pub governed: SessionContext,
    pub copy: SessionContext,
}

impl Sides {
    pub fn new(tables: &[(&str, &World)]) -> Self {
        let session = || SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let sides = Self { governed: session(), copy: session() };
        for (name, world) in tables {
            let (schema, stored) = world.stored();
            let source = Arc::new(MemTable::try_new(schema, vec![stored]).unwrap());
            sides.governed.register_table(*name, govern(name, world, source)).unwrap();
            let (schema, visible) = reference::copy(world);
            let copy = Arc::new(MemTable::try_new(schema, vec![visible]).unwrap());
            sides.copy.register_table(*name, copy).unwrap();
        }
        sides
    }
}

pub fn govern(name: &str, world: &World, source: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    let sight = Sight::new(&world.resource(name), &world.terms(), &caller(), &master()).unwrap();
    Arc::new(GovernedTable::new(Arc::new(sight), source, Arc::new(|| Ok(()))))
}

/// Rows as text in the order they came, or the error's text.
pub async fn ask(session: &SessionContext, sql: &str) -> Result<Vec<String>, String> {
    let told = |error: datafusion_common::DataFusionError| format!("{error} {error:?}");
    let batches = session.sql(sql).await.map_err(told)?.collect().await.map_err(told)?;
    Ok(batches.iter().flat_map(lines).collect())
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let cell = |column: usize, row: usize| {
        let array = batch.column(column);
        let value = array_value_to_string(array, row).unwrap();
        if array.is_null(row) { "null".to_owned() } else { format!("{value:?}:{}", array.data_type()) }
    };
    let line =
        |row: usize| (0..batch.num_columns()).map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(line).collect()
}

/// Every form a plan can be shown in.
async fn plan_text(session: &SessionContext, sql: &str) -> String {
    let Ok(frame) = session.sql(sql).await else {
        return String::new();
    };
    let mut shown = format!("{} {:?}", frame.logical_plan().display_indent_schema(), frame.logical_plan());
    if let Ok(plan) = frame.clone().into_optimized_plan() {
        shown += &format!("{} {plan:?}", plan.display_indent_schema());
    }
    if let Ok(plan) = frame.create_physical_plan().await {
        shown += &format!("{} {plan:?}", displayable(plan.as_ref()).indent(true));
    }
    shown
}

/// Both sides answer alike and nothing hidden is told; what differs comes back as text.
pub async fn compare(sides: &Sides, sql: &str, with_plan: bool) -> Result<(), String> {
    let governed = ask(&sides.governed, sql).await;
    let copy = ask(&sides.copy, sql).await;
    // What the caller wrote, it may be told again.
    let hidden = |text: &str| text.replace("CANAR%", "").contains(CANARY);
    if hidden(&format!("{governed:?}")) {
        return Err(format!("{sql}\n tells what is hidden: {governed:?}"));
    }
    if with_plan && hidden(&plan_text(&sides.governed, sql).await) {
        return Err(format!("{sql}\n shows what is hidden in its plan"));
    }
    let total = sql.contains("ORDER BY 1");
    match (governed, copy) {
        (Ok(mut governed), Ok(mut copy)) => {
            if !total {
                governed.sort();
                copy.sort();
            }
            if governed == copy {
                Ok(())
            } else {
                Err(format!("{sql}\n governed {governed:?}\n copy     {copy:?}"))
            }
        }
        (Err(_), Err(_)) => Ok(()),
        (governed, copy) => Err(format!("{sql}\n governed {governed:?}\n copy     {copy:?}")),
    }
}
