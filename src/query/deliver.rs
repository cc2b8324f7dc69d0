//! record → release → close: a held answer behind its one entry, a stream between its two.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Failure, Line};
use crate::audit::{AppendError, Draft, Kind};
use crate::engine::encode::Format;
use crate::engine::sealed::{Chunks, SealedBody};
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::Remaining;

/// Bytes that may leave: made only from a recorded, released body.
#[derive(Debug)]
pub struct Answer {
    pub receipt: String,
    pub format: Format,
    pub remaining: Option<Remaining>,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Held(Vec<u8>),
    /// Chunks; an error ends the transfer without a clean end of body.
    Stream(mpsc::Receiver<Result<Vec<u8>, Error>>),
}

/// Records and releases a body.
pub(super) async fn deliver(line: Line, body: SealedBody) -> Result<Answer, Failure> {
    if body.whole() { held(line, body).await } else { stream(line, body).await }
}

/// Records a refusal or failure; what the caller is told is the failure, unless it cannot be recorded.
pub(super) async fn refuse(line: Line, error: Error) -> Failure {
    let Line { hub, draft, side, .. } = line;
    refused(&hub, draft, side, error).await
}

async fn refused(hub: &Hub, mut draft: Draft, side: Option<Vec<u8>>, error: Error) -> Failure {
    outcome(&mut draft, &error);
    let receipt = draft.receipt.to_string();
    match hub.log.append(draft, side).await {
        Ok(_recorded) => Failure { error, receipt: Some(receipt) },
        Err(cause) => Failure { error: unrecorded(&cause), receipt: None },
    }
}

async fn held(line: Line, body: SealedBody) -> Result<Answer, Failure> {
    let Line { hub, mut draft, side, format, permits, remaining, .. } = line;
    let mut taken = Taken { hub: hub.clone(), limits: row_limits(&permits), rows: 0 };
    if let Err(error) = taken.add(body.rows()) {
        return Err(refused(&hub, draft, side, error).await);
    }
    complete(&hub, &mut draft, &body);
    let rows = body.rows();
    let operation = draft.operation.clone();
    let receipt = draft.receipt.to_string();
    match hub.log.append(draft, side).await {
        Ok(recorded) => {
            hub.metrics.released(&operation, rows);
            let bytes = body.release(&recorded).map_err(unsealable)?;
            Ok(Answer { receipt, format, remaining, body: Body::Held(bytes) })
        }
        Err(cause) => {
            taken.give_back();
            Err(Failure { error: unrecorded(&cause), receipt: None })
        }
    }
}

async fn stream(line: Line, body: SealedBody) -> Result<Answer, Failure> {
    let Line { hub, mut draft, side, format, permits, remaining, .. } = line;
    let mut taken = Taken { hub: hub.clone(), limits: row_limits(&permits), rows: 0 };
    if let Err(error) = taken.add(body.rows()) {
        return Err(refused(&hub, draft, side, error).await);
    }
    draft.kind = Kind::Opened;
    "running".clone_into(&mut draft.code);
    draft.rows = Some(body.rows());
    let receipt = draft.receipt.to_string();
    let opened = match hub.log.append(draft.clone(), side).await {
        Ok(opened) => opened,
        Err(cause) => {
            taken.give_back();
            return Err(Failure { error: unrecorded(&cause), receipt: None });
        }
    };
    let chunks = body.stream(&opened).map_err(unsealable)?;
    let (sender, receiver) = mpsc::channel(4);
    let idle = Duration::from_millis(hub.config.engine.idle_timeout_ms);
    draft.kind = Kind::Closed;
    draft.opened_index = Some(opened.index());
    hub.work.clone().spawn(run(hub, chunks, draft, taken, sender, idle));
    Ok(Answer { receipt, format, remaining, body: Body::Stream(receiver) })
}

/// Sends chunks while the client takes them, then records the outcome and sends the last chunk.
async fn run(
    hub: Arc<Hub>,
    mut chunks: Chunks,
    mut draft: Draft,
    mut taken: Taken,
    sender: mpsc::Sender<Result<Vec<u8>, Error>>,
    idle: Duration,
) {
    let ended = loop {
        let chunk = match chunks.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if let Err(error) = taken.add(chunks.body().rows()) {
            break Err(error);
        }
        match tokio::time::timeout(idle, sender.send(Ok(chunk))).await {
            Ok(Ok(())) => {}
            Ok(Err(_gone)) => break Err(Error::Cancelled),
            Err(_idle) => break Err(Error::Deadline),
        }
    };
    let rows = chunks.body().rows();
    let ended = ended.and_then(|()| taken.add(rows));
    complete(&hub, &mut draft, chunks.body());
    if let Err(error) = &ended {
        outcome(&mut draft, error);
    }
    let operation = draft.operation.clone();
    let closed = hub.log.append(draft, None).await;
    match (ended, closed) {
        (Ok(()), Ok(closed)) => {
            hub.metrics.released(&operation, rows);
            let last = chunks.last(&closed);
            let _sent = tokio::time::timeout(idle, sender.send(last)).await;
        }
        (Err(error), Ok(_closed)) => {
            let _sent = tokio::time::timeout(idle, sender.send(Err(error))).await;
        }
        (_, Err(cause)) => {
            let _sent = tokio::time::timeout(idle, sender.send(Err(unrecorded(&cause)))).await;
        }
    }
}

/// Fills in what a good answer was.
fn complete(hub: &Hub, draft: &mut Draft, body: &SealedBody) {
    draft.rows = Some(body.rows());
    draft.bytes = Some(body.bytes());
    draft.commitment = hub.log.commitment(&draft.receipt, &body.digest());
    draft.status = Some(200);
    "ok".clone_into(&mut draft.code);
}

/// Fills in what went wrong.
fn outcome(draft: &mut Draft, error: &Error) {
    draft.status = Some(u64::from(error.status()));
    error.code().clone_into(&mut draft.code);
    draft.reasons = error.rules();
}

pub(crate) fn unrecorded(cause: &AppendError) -> Error {
    tracing::error!(%cause, "an entry could not be written");
    match cause {
        AppendError::Overloaded => Error::Overloaded,
        _ => Error::RecordUnavailable,
    }
}

/// A body and an entry that do not belong together: never seen, and then nothing leaves.
fn unsealable(error: Error) -> Failure {
    Failure { error, receipt: None }
}

/// `(grant, rows a day)` of every permit of the call.
fn row_limits(permits: &[Arc<policies::Permit>]) -> Vec<(String, u64)> {
    permits
        .iter()
        .filter_map(|permit| permit.grant().map(|(id, _)| (id.0.clone(), permit.rows_per_day_max())))
        .collect()
}

/// Rows taken from the day of every grant of the call.
struct Taken {
    hub: Arc<Hub>,
    limits: Vec<(String, u64)>,
    rows: u64,
}

impl Taken {
    /// Takes what is missing up to `rows` in total; all grants or none.
    fn add(&mut self, rows: u64) -> Result<(), Error> {
        let more = rows.saturating_sub(self.rows);
        for (index, (grant, per_day_max)) in self.limits.iter().enumerate() {
            if let Err(error) = self.hub.limits.reserve_rows(grant, more, *per_day_max) {
                for (earlier, _) in self.limits.iter().take(index) {
                    self.hub.limits.return_rows(earlier, more);
                }
                return Err(error);
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn give_back(self) {
        for (grant, _) in &self.limits {
            self.hub.limits.return_rows(grant, self.rows);
        }
    }
}
