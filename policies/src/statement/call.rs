//! Calls: the function must be on the list, and every part of the call too.

use datafusion_sql::sqlparser::ast::{
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    ObjectNamePart, WindowType,
};

use super::query::normal;
use super::{Gate, StatementFault, deny};
use crate::functions;

impl Gate<'_> {
    pub(super) fn call(&mut self, call: &Function) -> Result<(), StatementFault> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            filter,
            null_treatment: _,
            over,
            within_group,
        } = call;
        let known = match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] => {
                Some(normal(ident)).filter(|name| functions::is_allowed(name))
            }
            _ => None,
        };
        let Some(function) = known else {
            return Err(StatementFault::function(&name.to_string()));
        };
        if *uses_odbc_syntax || *parameters != FunctionArguments::None || !within_group.is_empty() {
            return deny("WITHIN GROUP, ODBC syntax or a second list of arguments");
        }
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) => return deny("a query as arguments"),
            FunctionArguments::List(list) => self.arguments(&function, list)?,
        }
        if let Some(filter) = filter {
            self.expr(filter)?;
        }
        match over {
            None => Ok(()),
            Some(WindowType::NamedWindow(_)) => self.node(),
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
        }
    }

    fn arguments(&mut self, function: &str, list: &FunctionArgumentList) -> Result<(), StatementFault> {
        let FunctionArgumentList { duplicate_treatment: _, args, clauses } = list;
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr)?,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if function == "count" => self.node()?,
                FunctionArg::Unnamed(_) => return deny("`*` as an argument (only `count(*)`)"),
                FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                    return deny("a named argument");
                }
            }
        }
        for clause in clauses {
            match clause {
                FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                FunctionArgumentClause::OrderBy(exprs) => self.inner_sort(exprs)?,
                _ => return deny("this clause inside a call"),
            }
        }
        Ok(())
    }
}
