//! record → release → close: a held answer behind its one entry, a stream between its two.

use std::sync::Arc;
use std::time::Duration;

use policies::Permit;
use tokio::sync::mpsc;

use super::resolve::still_permitted;
use super::{Failure, Line};
use crate::audit::{AppendError, Draft, Kind};
use crate::engine::encode::Format;
use crate::engine::sealed::{Chunks, SealedBody};
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::{Lane, Place, Remaining};
use crate::telemetry::Step;

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
    if matches!(error, Error::Rate { .. }) {
        hub.limits.count(draft.account, "rate");
        return Failure { error, receipt: None };
    }
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
    let Line { hub, mut draft, side, format, permits, remaining, deadline_us, mut laps, .. } = line;
    let mut taken = Taken { hub: hub.clone(), limits: row_limits(&permits), rows: 0 };
    if let Err(error) = taken.add(body.rows()) {
        return Err(refused(&hub, draft, side, error).await);
    }
    if let Err(error) = still_permitted(&hub, &permits, deadline_us) {
        taken.give_back();
        return Err(refused(&hub, draft, side, error).await);
    }
    complete(&hub, &mut draft, &body);
    let rows = body.rows();
    let operation = draft.operation.clone();
    let receipt = draft.receipt.to_string();
    match hub.log.append(draft, side).await {
        Ok(recorded) => {
            hub.metrics.lap(&mut laps, Step::Record);
            hub.metrics.released(&operation, rows);
            let bytes = body.release(&recorded).map_err(unsealable)?;
            hub.metrics.lap(&mut laps, Step::Release);
            Ok(Answer { receipt, format, remaining, body: Body::Held(bytes) })
        }
        Err(cause) => {
            taken.give_back();
            Err(Failure { error: unrecorded(&cause), receipt: None })
        }
    }
}

async fn stream(line: Line, body: SealedBody) -> Result<Answer, Failure> {
    let Line { hub, mut draft, side, format, permits, remaining, deadline_us, .. } = line;
    let place = match hub.limits.place(Lane::Stream, &draft.department, &draft.account) {
        Ok(place) => place,
        Err(error) => return Err(refused(&hub, draft, side, error).await),
    };
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
    let flow = Flow { hub: hub.clone(), permits, deadline_us, taken, sender, idle, _place: place };
    hub.work.spawn(flow.run(chunks, draft));
    Ok(Answer { receipt, format, remaining, body: Body::Stream(receiver) })
}

/// How often a waiting stream looks whether it may go on.
const LOOK: Duration = Duration::from_millis(500);

/// A stream on its way to its client.
struct Flow {
    hub: Arc<Hub>,
    permits: Vec<Arc<Permit>>,
    deadline_us: i64,
    taken: Taken,
    sender: mpsc::Sender<Result<Vec<u8>, Error>>,
    idle: Duration,
    _place: Place,
}

impl Flow {
    /// Sends chunks while it may, then records the outcome and sends the last chunk.
    async fn run(mut self, mut chunks: Chunks, mut draft: Draft) {
        let ended = self.send_all(&mut chunks).await;
        let rows = chunks.body().rows();
        let ended = ended.and_then(|()| self.taken.add(rows));
        complete(&self.hub, &mut draft, chunks.body());
        if let Err(error) = &ended {
            outcome(&mut draft, error);
        }
        let operation = draft.operation.clone();
        let closed = self.hub.log.append(draft, None).await;
        let last = match (ended, closed) {
            (Ok(()), Ok(closed)) => {
                self.hub.metrics.released(&operation, rows);
                chunks.last(&closed)
            }
            (Err(error), Ok(_closed)) => Err(error),
            (_, Err(cause)) => Err(unrecorded(&cause)),
        };
        let _sent = tokio::time::timeout(self.idle, self.sender.send(last)).await;
    }

    async fn send_all(&mut self, chunks: &mut Chunks) -> Result<(), Error> {
        loop {
            let chunk = self.while_permitted(self.deadline(), chunks.next()).await??;
            let Some(chunk) = chunk else { return Ok(()) };
            self.taken.add(chunks.body().rows())?;
            let sent = self.while_permitted(self.idle, self.sender.send(Ok(chunk))).await?;
            sent.map_err(|_gone| Error::Cancelled)?;
        }
    }

    fn deadline(&self) -> Duration {
        let left_us = self.deadline_us.saturating_sub(self.hub.clock.steady_us());
        Duration::from_micros(u64::try_from(left_us).unwrap_or(0))
    }

    /// Waits for something, but not beyond the permits: they are looked at before, and twice a second meanwhile.
    async fn while_permitted<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let late = tokio::time::Instant::now() + patience;
        let mut look = tokio::time::interval(LOOK);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                _now = look.tick() => still_permitted(&self.hub, &self.permits, self.deadline_us)?,
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(late) => return Err(Error::Deadline),
            }
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
fn row_limits(permits: &[Arc<Permit>]) -> Vec<(String, u64)> {
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
