//! A table or view of a department's own PostgreSQL database, asked point to point and never written.
//!
//! INVARIANT: every reading is one read-only transaction with its own time; names are quoted and qualified, values bound.
//! INVARIANT: a pushed filter only narrows what is sent: rows are filtered again above, keys read back and compared.

mod connection;
mod layout;
mod scan;
mod statement;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::Resource;
pub use connection::{PostgresConnection, PostgresTls};
pub(crate) use connection::{Server, Servers};
use layout::Layout;
#[cfg(test)]
pub(crate) use statement::Values;

use crate::{SourceError, SourceLimits, unfit::Unfit};

#[derive(Debug)]
pub(crate) struct PostgresTable {
    server: Arc<Server>,
    layout: Layout,
    resource: Arc<Resource>,
    schema: SchemaRef,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
    /// Every statement sent, for tests that look at what was pushed.
    #[cfg(test)]
    pub(crate) sent: std::sync::Mutex<Vec<statement::Statement>>,
}

impl PostgresTable {
    /// Asks the server for the table's columns and compares them with the items.
    pub(crate) async fn mount(
        resource: Arc<Resource>,
        server: Arc<Server>,
        (schema, table): (&str, &str),
        unfit: Arc<Unfit>,
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        let layout = Layout::read(&server, &resource, (schema, table), limits).await?;
        Ok(Self {
            server,
            layout,
            schema: resource.schema(),
            resource,
            unfit,
            limits: limits.clone(),
            #[cfg(test)]
            sent: std::sync::Mutex::default(),
        })
    }
}
