//! One governed, recorded answer: the straight line, for SQL and for look-ups by key.
//!
//! admit → authenticate → parse → resolve → decide → open → govern → plan → execute (sealed) → record → release → close
//! (admit and authenticate happen at the edge's door, [`crate::api`]).
//! INVARIANT: after `parse` begins, every outcome is one entry (a stream: two), refusals and cancellations included;
//! no row leaves before its entry is durable.
//! Per call: one durable append (shared with whoever waits), no store write.

pub mod call;
mod deliver;
mod resolve;

use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::ResourceName;
use policies::statement::Relation;
use policies::{Caller, Operation, Permit};
use tokio_util::sync::CancellationToken;

use crate::audit::{Draft, Kind};
use crate::engine::encode::Format;
use crate::engine::sealed::{Ceilings, Sealed, SealedBody};
use crate::engine::{Statement, Table};
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::{Lane, Remaining};
use crate::telemetry::{Laps, Step};
pub use call::{LookupCall, QueryCall};
pub use deliver::{Answer, Body};
use resolve::{Decided, decide_all};

/// Name of the record as a resource.
pub const RECORD: &str = "system.audit";

/// What stays on record of a call that is too large to be kept whole.
const BEGIN_CHARS: usize = 4_096;

/// What is asked: one SQL statement, or rows by declared key.
#[derive(Debug)]
pub enum Asked {
    Statement(QueryCall),
    Keys(LookupCall),
}

impl Asked {
    fn operation(&self) -> Operation {
        match self {
            Self::Statement(_) => Operation::Query,
            Self::Keys(_) => Operation::Lookup,
        }
    }
}

/// What a caller gets instead of an answer, with the receipt of its entry where there is one.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    pub receipt: Option<String>,
}

/// Answers one call. It runs in a task of its own: when the client goes away it is cancelled, and that is recorded.
pub async fn answer(
    hub: Arc<Hub>,
    caller: Caller,
    asked: Asked,
    format: Format,
    cancel: CancellationToken,
) -> Result<Answer, Failure> {
    let line = Line::new(&hub, &caller, asked.operation(), format);
    match hub.work.spawn(line.run(caller, asked, cancel)).await {
        Ok(outcome) => outcome,
        Err(cause) => {
            tracing::error!(%cause, "a call ended without an outcome");
            Err(Failure { error: Error::Overloaded, receipt: None })
        }
    }
}

/// Records a call whose body could not be read as what it should be.
pub async fn refuse_unread(hub: &Arc<Hub>, caller: &Caller, operation: Operation, error: Error) -> Failure {
    deliver::refuse(Line::new(hub, caller, operation, Format::Json), error).await
}

/// One call on its way: what is known of it so far is what will be on record.
pub(crate) struct Line {
    hub: Arc<Hub>,
    draft: Draft,
    /// Sealed side of the entry: the full statement or keys, for a reviewer to open.
    side: Option<Vec<u8>>,
    format: Format,
    deadline: Instant,
    /// The same, on the clock's steady time.
    deadline_us: i64,
    permits: Vec<Arc<Permit>>,
    remaining: Option<Remaining>,
    laps: Laps,
}

impl Line {
    fn lap(&mut self, step: Step) {
        self.hub.metrics.lap(&mut self.laps, step);
    }

    fn new(hub: &Arc<Hub>, caller: &Caller, operation: Operation, format: Format) -> Self {
        let time = Duration::from_millis(hub.config.engine.deadline_ms);
        let draft = Draft {
            operation: operation.as_str().to_owned(),
            day: Some(hub.limits.today()),
            store_revision: u64::try_from(hub.store.revision()).ok(),
            rules: hub.law.version().to_owned(),
            ..crate::acts::drafted(Kind::Call, caller)
        };
        Self {
            hub: hub.clone(),
            draft,
            side: None,
            format,
            deadline: Instant::now() + time,
            deadline_us: hub
                .clock
                .steady_us()
                .saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
            permits: Vec::new(),
            remaining: None,
            laps: Laps::start(),
        }
    }

    /// Makes the sealed body within the deadline, then records and releases it; a failure is recorded too.
    async fn run(
        mut self,
        caller: Caller,
        asked: Asked,
        cancel: CancellationToken,
    ) -> Result<Answer, Failure> {
        let hub = self.hub.clone();
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let made = tokio::select! {
            biased;
            made = self.make(&caller, asked) => made,
            () = cancel.cancelled() => Err(Error::Cancelled),
            () = hub.closing.cancelled() => Err(Error::Overloaded),
            () = tokio::time::sleep_until(deadline) => Err(Error::Deadline),
        };
        match made {
            Ok(body) => deliver::deliver(self, body).await,
            Err(error) => Err(deliver::refuse(self, error).await),
        }
    }

    async fn make(&mut self, caller: &Caller, asked: Asked) -> Result<SealedBody, Error> {
        match asked {
            Asked::Statement(call) => self.statement(caller, call).await,
            Asked::Keys(call) => self.keys(caller, call).await,
        }
    }

    /// parse → resolve → decide → open → govern → plan → execute for a statement.
    async fn statement(&mut self, caller: &Caller, call: QueryCall) -> Result<SealedBody, Error> {
        let hub = self.hub.clone();
        self.note(caller, &call.about());
        let kept = self.keep_aside(&serde_json::json!({"sql": call.sql, "params": call.params}));
        let checked = hub.engine.check(call.sql.clone()).await?;
        self.draft.shape = checked.shape().to_owned();
        kept?;
        if checked.parameters() != call.params.len() {
            return Err(Error::invalid(
                "/params",
                format!(
                    "the statement has {} parameters, {} were sent",
                    checked.parameters(),
                    call.params.len()
                ),
            ));
        }
        let params = call.params.iter().enumerate().map(call::param).collect::<Result<Vec<_>, _>>()?;
        let names = resource_names(checked.relations())?;
        self.lap(Step::Parse);
        let decided = decide_all(self, caller, &call.about(), &names).await?;
        let lane = if names.iter().any(|name| name.as_str() == RECORD) { Lane::Review } else { Lane::Query };
        let _seat = hub.limits.seat(lane, caller.department().as_str()).await?;
        self.lap(Step::Wait);
        let mut tables = Vec::with_capacity(decided.len());
        for one in &decided {
            tables.push(self.open(one).await?);
        }
        self.lap(Step::Open);
        let rest = self.deadline.saturating_duration_since(Instant::now());
        let sealed = hub.engine.run(Statement { checked, params, tables }, rest).await?;
        self.lap(Step::Plan);
        self.encode(sealed).await
    }

    /// parse → resolve → decide → open → govern for keys; no SQL planning.
    async fn keys(&mut self, caller: &Caller, call: LookupCall) -> Result<SealedBody, Error> {
        let hub = self.hub.clone();
        self.note(caller, &call.about());
        let asked = call::keys(&call, hub.config.limits.keys_per_lookup_max)?;
        self.note_subjects(&asked.values)?;
        let item = call::code_or_digest(&asked.item, &hub.keys);
        self.draft.shape = format!("{} keys of {item}", asked.values.len());
        let name = ResourceName(call.resource.clone());
        self.lap(Step::Parse);
        let decided = decide_all(self, caller, &call.about(), std::slice::from_ref(&name)).await?;
        let one = decided.first().ok_or(Error::NotFound)?;
        let sight = one.permit.sight();
        if !sight.inputs().contains(&asked.item) {
            return Err(Error::NotFound);
        }
        let projection = resolve::projection(sight, call.items.as_deref())?;
        let _seat = hub.limits.seat(Lane::Lookup, caller.department().as_str()).await?;
        self.lap(Step::Wait);
        let sealed = crate::engine::lookup(
            &hub.sources,
            &one.published.resource,
            sight,
            &projection,
            (&asked.item, &asked.values),
        )
        .await?;
        self.lap(Step::Execute);
        self.encode(sealed).await
    }

    async fn encode(&mut self, sealed: Sealed) -> Result<SealedBody, Error> {
        let engine = &self.hub.config.engine;
        let rows_max = self.permits.iter().map(|permit| permit.rows_per_answer_max()).min();
        let ceilings = Ceilings {
            rows_max: rows_max.unwrap_or(engine.record_rows_max),
            held_bytes_max: engine.held_bytes_max,
            stream_bytes_max: engine.stream_bytes_max,
        };
        let body = sealed.encode(self.format, &self.draft.receipt.to_string(), ceilings).await?;
        self.lap(Step::Encode);
        Ok(body)
    }

    /// Opens the rows behind a permit; the record itself is a table of the log.
    async fn open(&self, one: &Decided) -> Result<Table, Error> {
        let resource = &one.published.resource;
        let source = if resource.name.as_str() == RECORD {
            self.hub.log.table()
        } else {
            crate::engine::open(&self.hub.sources, resource).await?
        };
        Ok(Table {
            name: resource.name.clone(),
            sight: one.permit.sight().clone(),
            source,
            check: resolve::check(&self.hub, &one.permit, self.deadline_us),
        })
    }

    /// What the caller says about the call, as the record keeps it: persons and cases as keyed digests.
    fn note(&mut self, caller: &Caller, about: &call::About<'_>) {
        let draft = &mut self.draft;
        // Anything can be sent as a purpose; only a code of the list may stand in clear.
        draft.purpose = match self.hub.purposes.get(about.purpose) {
            Some(purpose) => purpose.code.clone(),
            None => self.hub.keys.digest(about.purpose),
        };
        if let Some(case) = about.case {
            draft.case = self.hub.keys.digest(case);
        }
        draft.standing = about.standing_text(&self.hub.keys);
        draft.channel =
            about.channel.map(|channel| call::code_or_digest(channel, &self.hub.keys)).unwrap_or_default();
        if draft.account.is_empty() {
            caller.account().clone_into(&mut draft.account);
        }
    }

    /// Up to eight subjects stand in the entry as digests; the whole list is sealed beside it.
    fn note_subjects(&mut self, values: &[String]) -> Result<(), Error> {
        self.draft.subjects =
            values.iter().take(crate::audit::SUBJECTS_MAX).map(|value| self.hub.keys.digest(value)).collect();
        if values.len() > crate::audit::SUBJECTS_MAX {
            self.keep_aside(&serde_json::json!({ "keys": values }))?;
        }
        Ok(())
    }

    /// Keeps what was asked for the entry's sealed side. What does not fit there whole must not run, or padding would
    /// hide what was asked; of the refused call the beginning stays, with size and SHA-256 of the whole.
    fn keep_aside(&mut self, asked: &serde_json::Value) -> Result<(), Error> {
        let whole = asked.to_string();
        let max = crate::audit::SIDE_BYTES_MAX;
        if whole.len() <= max {
            self.hub.limits.side(&self.draft.account, whole.len())?;
            self.side = Some(whole.into_bytes());
            return Ok(());
        }
        let begin: String = whole.chars().take(BEGIN_CHARS).collect();
        let sha256 = crate::crypto::hex(&crate::crypto::sha256(&[whole.as_bytes()]));
        let part = serde_json::json!({"begin": begin, "bytes": whole.len(), "sha256": sha256});
        self.side = Some(part.to_string().into_bytes());
        Err(Error::TooLarge { what: "statement or list of keys with its parameters", max })
    }
}

/// Every relation must be able to be a resource; anything else is not found, like a resource that is not there.
fn resource_names(relations: &[Relation]) -> Result<Vec<ResourceName>, Error> {
    relations
        .iter()
        .map(|relation| match relation {
            Relation::Resource(name) => Ok(name.clone()),
            Relation::Other(_) => Err(Error::NotFound),
        })
        .collect()
}
