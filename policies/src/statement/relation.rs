//! FROM: relations, joins and the names that reach the catalogue.

use catalog::ResourceName;
use datafusion_sql::sqlparser::ast::{
    Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias, TableFactor, TableWithJoins,
};

use super::columns::Columns;
use super::query::{normal, plain_name};
use super::{Gate, Limit, Relation, StatementFault, deny};

/// A name longer than any catalogue name is cut before it is kept.
const OTHER_CHARS_MAX: usize = 200;

impl Gate<'_> {
    pub(super) fn from(&mut self, tables: &[TableWithJoins]) -> Result<Columns, StatementFault> {
        let mut columns = Columns::default();
        columns.add(None, 1);
        // A later relation may be LATERAL, so the columns of those before it are in reach already.
        self.columns.push(columns);
        for (at, table) in tables.iter().enumerate() {
            if at > 0 {
                self.join_counted()?;
            }
            self.table_with_joins(table)?;
        }
        Ok(self.columns.pop().unwrap_or_default())
    }

    fn join_counted(&mut self) -> Result<(), StatementFault> {
        self.joins += 1;
        self.within(Limit::Joins, self.joins, self.limits.joins_max)
    }

    fn table_with_joins(&mut self, table: &TableWithJoins) -> Result<(), StatementFault> {
        let TableWithJoins { relation, joins } = table;
        self.factor(relation)?;
        for Join { relation, global, join_operator } in joins {
            if *global {
                return deny("GLOBAL JOIN");
            }
            self.node()?;
            self.join_counted()?;
            self.factor(relation)?;
            match join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on)
                | JoinOperator::Right(on)
                | JoinOperator::RightOuter(on)
                | JoinOperator::FullOuter(on)
                | JoinOperator::CrossJoin(on)
                | JoinOperator::LeftSemi(on)
                | JoinOperator::RightSemi(on)
                | JoinOperator::LeftAnti(on)
                | JoinOperator::RightAnti(on) => self.constraint(on)?,
                _ => return deny("this kind of join"),
            }
        }
        Ok(())
    }

    fn constraint(&mut self, constraint: &JoinConstraint) -> Result<(), StatementFault> {
        match constraint {
            JoinConstraint::On(expr) => self.rooted(expr).map(|_| ()),
            JoinConstraint::Using(names) => {
                self.within(Limit::OutputColumns, names.len(), self.limits.output_columns_max)?;
                names.iter().try_for_each(plain_name)
            }
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), StatementFault> {
        self.enter()?;
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                if args.is_some() {
                    return Err(StatementFault::function(&name.to_string()));
                }
                if sample.is_some() {
                    return deny("TABLESAMPLE");
                }
                let plain = with_hints.is_empty() && version.is_none() && !with_ordinality;
                if !plain || !partitions.is_empty() || json_path.is_some() || !index_hints.is_empty() {
                    return deny("a hint, version, partition or path after a relation");
                }
                let columns = self.named(name)?;
                self.known_as(alias.as_ref(), columns)?;
            }
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                if sample.is_some() {
                    return deny("TABLESAMPLE");
                }
                let columns = self.query(subquery)?;
                self.known_as(alias.as_ref(), columns)?;
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.table_with_joins(table_with_joins)?;
                if let Some(alias) = alias {
                    self.alias(alias)?;
                }
            }
            TableFactor::Function { name, .. } => {
                return Err(StatementFault::function(&name.to_string()));
            }
            TableFactor::TableFunction { .. } => return deny("a table function"),
            TableFactor::UNNEST { .. } => return Err(StatementFault::function("unnest")),
            TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::XmlTable { .. } => {
                return deny("a relation made from JSON or XML");
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {
                return deny("PIVOT or UNPIVOT");
            }
            TableFactor::MatchRecognize { .. } => return deny("MATCH_RECOGNIZE"),
            TableFactor::SemanticView { .. } => return deny("SEMANTIC_VIEW"),
        }
        self.leave();
        Ok(())
    }

    fn known_as(&mut self, alias: Option<&TableAlias>, columns: Columns) -> Result<(), StatementFault> {
        let names = alias.map_or(Ok(Vec::new()), |alias| self.alias(alias))?;
        if let Some(beside) = self.columns.last_mut() {
            beside.merge(&columns.renamed(&names));
        }
        Ok(())
    }

    /// A name in FROM: a common table expression in reach, or a base relation.
    fn named(&mut self, name: &ObjectName) -> Result<Columns, StatementFault> {
        let mut parts = Vec::new();
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(ident),
                ObjectNamePart::Function(call) => {
                    return Err(StatementFault::function(&call.name.value));
                }
            }
        }
        if let [only] = parts.as_slice() {
            let wanted = normal(only);
            let found = self.expressions.iter().rev().find(|(known, ..)| *known == wanted).cloned();
            if let Some((_, weight, columns)) = found {
                self.weight.relations = self.weight.relations.saturating_add(weight.relations);
                self.weight.nodes = self.weight.nodes.saturating_add(weight.nodes);
                self.heavy()?;
                return Ok(columns);
            }
        }
        self.weight.relations += 1;
        self.heavy()?;
        let normals: Vec<String> = parts.iter().map(|ident| normal(ident)).collect();
        self.relations.insert(relation(&normals));
        Ok(Columns::base())
    }
}

fn relation(parts: &[String]) -> Relation {
    if let [library, resource] = parts {
        let name = ResourceName(format!("{library}.{resource}"));
        if name.parts().is_some() {
            return Relation::Resource(name);
        }
    }
    Relation::Other(parts.join(".").chars().take(OTHER_CHARS_MAX).collect())
}
