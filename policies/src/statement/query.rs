//! Queries, common table expressions, set operations and SELECT itself.

use datafusion_sql::sqlparser::ast::{
    Cte, Distinct, ExcludeSelectItem, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectFlavor,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, Values,
    WildcardAdditionalOptions, With,
};

use super::columns::Columns;
use super::{Gate, Limit, StatementFault, Weight, deny};

impl Gate<'_> {
    /// One query with everything in it; what its columns weigh comes back.
    pub(super) fn query(&mut self, query: &Query) -> Result<Columns, StatementFault> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.enter()?;
        let growth = std::mem::take(&mut self.growth);
        let in_reach = self.expressions.len();
        if fetch.is_some() {
            return deny("FETCH (use LIMIT)");
        }
        if !locks.is_empty() {
            return deny("FOR UPDATE or FOR SHARE");
        }
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() {
            return deny("FOR, SETTINGS or FORMAT");
        }
        if !pipe_operators.is_empty() {
            return deny("a pipe operator");
        }
        if let Some(with) = with {
            self.with(with)?;
        }
        let columns = self.set_expr(body)?;
        // ORDER BY may name columns of the result or of the relations below; the result is the larger of the two.
        self.columns.push(columns.clone());
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        if let Some(limit) = limit_clause {
            self.limit_clause(limit)?;
        }
        self.columns.pop();
        self.expressions.truncate(in_reach);
        self.growth = growth;
        self.leave();
        Ok(columns)
    }

    fn with(&mut self, with: &With) -> Result<(), StatementFault> {
        let With { with_token: _, recursive, cte_tables } = with;
        if *recursive {
            return deny("WITH RECURSIVE");
        }
        for Cte { alias, query, from, materialized, closing_paren_token: _ } in cte_tables {
            if from.is_some() || materialized.is_some() {
                return deny("MATERIALIZED or FROM in WITH");
            }
            let name = normal(&alias.name);
            if name.contains('.') {
                // The engine compares names as joined text, so such a name could stand for a resource.
                return deny("a name in WITH that contains a full stop");
            }
            let around = std::mem::take(&mut self.weight);
            let columns = self.query(query)?;
            let weight = self.weight;
            self.heavy()?;
            // Relations count where the name is used; nodes also here, since what is never used is still planned.
            self.weight = Weight { relations: around.relations, nodes: around.nodes + weight.nodes };
            self.heavy()?;
            let names = self.alias(alias)?;
            self.expressions.push((name, weight, columns.renamed(&names)));
        }
        Ok(())
    }

    pub(super) fn heavy(&self) -> Result<(), StatementFault> {
        self.within(Limit::Relations, self.weight.relations, self.limits.relations_max)?;
        let nodes_max = self.limits.nodes_max.saturating_mul(4);
        self.within(Limit::Nodes, self.weight.nodes, nodes_max)
    }

    fn set_expr(&mut self, body: &SetExpr) -> Result<Columns, StatementFault> {
        // The left spine of `a UNION b UNION c` is walked in a loop: its length is bounded, its depth is not our stack's.
        let mut branches = Vec::new();
        let mut node = body;
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = node {
            self.set_operation(*op, *set_quantifier)?;
            branches.push(right.as_ref());
            node = left;
        }
        let mut columns = self.branch(node)?;
        for branch in branches.into_iter().rev() {
            let more = match branch {
                SetExpr::SetOperation { .. } => {
                    self.enter()?;
                    let more = self.set_expr(branch)?;
                    self.leave();
                    more
                }
                other => self.branch(other)?,
            };
            columns.overlay(&more);
        }
        Ok(columns)
    }

    fn set_operation(&mut self, op: SetOperator, quantifier: SetQuantifier) -> Result<(), StatementFault> {
        match op {
            SetOperator::Union | SetOperator::Intersect | SetOperator::Except => {}
            SetOperator::Minus => return deny("MINUS (use EXCEPT)"),
        }
        match quantifier {
            SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                return deny("BY NAME");
            }
        }
        self.node()?;
        self.branches += 1;
        self.within(Limit::SetBranches, self.branches + 1, self.limits.set_branches_max)
    }

    fn branch(&mut self, body: &SetExpr) -> Result<Columns, StatementFault> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation { .. } => self.set_expr(body),
            SetExpr::Insert(_) => deny("INSERT"),
            SetExpr::Update(_) => deny("UPDATE"),
            SetExpr::Delete(_) => deny("DELETE"),
            SetExpr::Merge(_) => deny("MERGE"),
            SetExpr::Table(_) => deny("TABLE"),
        }
    }

    fn values(&mut self, values: &Values) -> Result<Columns, StatementFault> {
        let Values { explicit_row: _, value_keyword: _, rows } = values;
        self.node()?;
        let mut columns = Columns::base();
        for row in rows {
            self.within(Limit::OutputColumns, row.content.len(), self.limits.output_columns_max)?;
            for expr in &row.content {
                let size = self.rooted(expr)?;
                columns.add(None, size);
            }
        }
        Ok(columns)
    }

    fn select(&mut self, select: &Select) -> Result<Columns, StatementFault> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.enter()?;
        if into.is_some() {
            return deny("INTO");
        }
        if !optimizer_hints.is_empty()
            || select_modifiers.is_some()
            || top.is_some()
            || value_table_mode.is_some()
        {
            return deny("a hint, a modifier or TOP (use LIMIT)");
        }
        if exclude.is_some() || *flavor != SelectFlavor::Standard || projection.is_empty() {
            return deny("a SELECT without a list of columns");
        }
        if !lateral_views.is_empty() || prewhere.is_some() || !connect_by.is_empty() {
            return deny("LATERAL VIEW, PREWHERE or CONNECT BY");
        }
        if !cluster_by.is_empty() || !distribute_by.is_empty() || !sort_by.is_empty() {
            return deny("CLUSTER BY, DISTRIBUTE BY or SORT BY");
        }
        let below = self.from(from)?;
        self.columns.push(below);
        if let Some(Distinct::On(exprs)) = distinct {
            self.roots(exprs)?;
        }
        for expr in [selection, having, qualify].into_iter().flatten() {
            self.rooted(expr)?;
        }
        self.group_by(group_by)?;
        self.named_windows(named_window)?;
        let columns = self.projection(projection)?;
        self.columns.pop();
        self.leave();
        Ok(columns)
    }

    fn projection(&mut self, items: &[SelectItem]) -> Result<Columns, StatementFault> {
        self.within(Limit::OutputColumns, items.len(), self.limits.output_columns_max)?;
        let mut columns = Columns::default();
        columns.add(None, 1);
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let size = self.rooted(expr)?;
                    columns.add(bare_name(expr), size);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let size = self.rooted(expr)?;
                    self.aliases.insert(normal(alias));
                    columns.add(Some(normal(alias)), size);
                }
                SelectItem::Wildcard(options) => self.wildcard(options, &mut columns)?,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    plain_name(name)?;
                    self.wildcard(options, &mut columns)?;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    return deny("`.*` after an expression");
                }
                SelectItem::ExprWithAliases { .. } => {
                    return deny("several aliases for one expression");
                }
            }
        }
        Ok(columns)
    }

    fn wildcard(
        &mut self,
        options: &WildcardAdditionalOptions,
        columns: &mut Columns,
    ) -> Result<(), StatementFault> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.node()?;
        if opt_ilike.is_some() || opt_rename.is_some() || opt_alias.is_some() {
            return deny("ILIKE, RENAME or an alias after `*`");
        }
        match opt_exclude {
            None => {}
            Some(ExcludeSelectItem::Single(name)) => plain_name(name)?,
            Some(ExcludeSelectItem::Multiple(names)) => names.iter().try_for_each(plain_name)?,
        }
        if let Some(except) = opt_except {
            self.within(
                Limit::OutputColumns,
                except.additional_elements.len(),
                self.limits.output_columns_max,
            )?;
        }
        if let Some(below) = self.columns.last() {
            columns.merge(&below.clone());
        }
        if let Some(replace) = opt_replace {
            for item in &replace.items {
                let size = self.rooted(&item.expr)?;
                columns.add(Some(normal(&item.column_name)), size);
            }
        }
        Ok(())
    }

    /// Remembers the names an alias makes up; its column names come back.
    pub(super) fn alias(&mut self, alias: &TableAlias) -> Result<Vec<String>, StatementFault> {
        let TableAlias { explicit: _, name, columns, at } = alias;
        if at.is_some() {
            return deny("AT in an alias");
        }
        self.within(Limit::OutputColumns, columns.len(), self.limits.output_columns_max)?;
        self.aliases.insert(normal(name));
        let mut names = Vec::new();
        for column in columns {
            if column.data_type.is_some() {
                return deny("a type in an alias");
            }
            self.aliases.insert(normal(&column.name));
            names.push(normal(&column.name));
        }
        Ok(names)
    }
}

/// As the engine does: unquoted names in lower case, quoted ones as they stand.
pub(super) fn normal(ident: &Ident) -> String {
    if ident.quote_style.is_none() { ident.value.to_ascii_lowercase() } else { ident.value.clone() }
}

pub(super) fn plain_name(name: &ObjectName) -> Result<(), StatementFault> {
    let plain = name.0.iter().all(|part| matches!(part, ObjectNamePart::Identifier(_)));
    if plain && name.0.len() <= 4 { Ok(()) } else { deny("a name made of more than words") }
}

fn bare_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(normal(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(normal),
        _ => None,
    }
}
