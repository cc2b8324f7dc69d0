//! The functions a statement may call: an allowlist, and bounded forms of those that can grow their input.
//!
//! INVARIANT: a function is allowed because it is named here; the engine registers nothing else.
//! INVARIANT: what a function can make of one cell or one array is bounded before memory is taken for it.

mod bounded;
mod checked;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use datafusion_common::DataFusionError;
use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};

pub use bounded::CONCAT_OPERATOR;
pub use checked::checked;

/// Bytes of one text value that a function may make.
pub const CELL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one array of text values that a function may make.
pub const ARRAY_BYTES_MAX: usize = 16 * 1024 * 1024;

const TOO_LARGE: &str = "a text value or column would be larger than allowed";

/// The fault of every bounded function; it becomes `too_much_memory` like a full memory pool.
pub fn too_large() -> DataFusionError {
    DataFusionError::ResourcesExhausted(TOO_LARGE.to_owned())
}

/// True for `too_large`, also when the engine has wrapped it.
pub fn is_too_large(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(text) if text == TOO_LARGE)
}

/// Scalar functions taken as they are: total or failing, never larger than a small multiple of their input.
const SCALAR: &[&str] = &[
    // choice
    "coalesce",
    "nullif",
    "nvl",
    "nvl2",
    "greatest",
    "least",
    // numbers
    "abs",
    "ceil",
    "floor",
    "round",
    "trunc",
    "sqrt",
    "cbrt",
    "power",
    "exp",
    "ln",
    "log",
    "log2",
    "log10",
    "signum",
    "isnan",
    "iszero",
    "nanvl",
    "pi",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "degrees",
    "radians",
    // text
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "contains",
    "ends_with",
    "initcap",
    "left",
    "lower",
    "ltrim",
    "octet_length",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "upper",
    // time
    "current_date",
    "date_part",
    "date_trunc",
    "now",
    "to_date",
    "to_timestamp",
];

const AGGREGATE: &[&str] = &[
    "any_value",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Everything the engine gives to `SessionStateBuilder::new()`; nothing is to be added to it.
#[derive(Debug, Clone)]
pub struct Functions {
    pub scalar: Vec<Arc<ScalarUDF>>,
    pub aggregate: Vec<Arc<AggregateUDF>>,
    pub window: Vec<Arc<WindowUDF>>,
    pub planners: Vec<Arc<dyn ExprPlanner>>,
}

static REGISTRY: LazyLock<Functions> = LazyLock::new(build);

static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names = BTreeSet::new();
    for udf in &REGISTRY.scalar {
        names.insert(udf.name().to_owned());
        names.extend(udf.aliases().iter().cloned());
    }
    for udf in &REGISTRY.aggregate {
        names.insert(udf.name().to_owned());
        names.extend(udf.aliases().iter().cloned());
    }
    for udf in &REGISTRY.window {
        names.insert(udf.name().to_owned());
        names.extend(udf.aliases().iter().cloned());
    }
    names
});

/// The registries of a session. Cheap: the functions are shared.
pub fn registry() -> Functions {
    REGISTRY.clone()
}

/// Whether a statement may call `name` (lower case, as normalised).
pub fn is_allowed(name: &str) -> bool {
    NAMES.contains(name)
}

/// Every allowed name and alias, sorted: what documentation and catalogue pages list.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(String::as_str)
}

fn build() -> Functions {
    let mut scalar: Vec<_> = datafusion_functions::all_default_functions();
    scalar.retain(|udf| SCALAR.contains(&udf.name()));
    for udf in &mut scalar {
        if udf.name() == "signum" {
            *udf = Arc::new(udf.as_ref().clone().with_aliases(["sign"]));
        }
    }
    scalar.extend(bounded::functions());
    let mut aggregate = datafusion_functions_aggregate::all_default_aggregate_functions();
    aggregate.retain(|udf| AGGREGATE.contains(&udf.name()));
    let mut window = datafusion_functions_window::all_default_window_functions();
    window.retain(|udf| WINDOW.contains(&udf.name()));
    let planners: Vec<Arc<dyn ExprPlanner>> = vec![
        Arc::new(bounded::ConcatPlanner),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
        Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
    ];
    Functions { scalar, aggregate, window, planners }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_there() {
        let all = registry();
        for name in SCALAR {
            assert!(all.scalar.iter().any(|udf| udf.name() == *name), "{name}");
        }
        for name in AGGREGATE {
            assert!(all.aggregate.iter().any(|udf| udf.name() == *name), "{name}");
        }
        for name in WINDOW {
            assert!(all.window.iter().any(|udf| udf.name() == *name), "{name}");
        }
    }

    #[test]
    fn growing_and_telling_functions_are_not() {
        for name in [
            "repeat",
            "rpad",
            "lpad",
            "array_repeat",
            "range",
            "generate_series",
            "unnest",
            "regexp_replace",
            "regexp_like",
            "array_agg",
            "random",
            "version",
            "arrow_cast",
            "md5",
            "chr",
            "to_char",
            "factorial",
            "concat_operator",
            "input_file_name",
            "uuid",
            "translate",
            "levenshtein",
            "approx_distinct",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
    }
}
