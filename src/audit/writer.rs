//! The one thread that writes: group commit, publishing, and coming back after a disk failed.
//!
//! INVARIANT: after a failed append the segment is given up; nothing in it beyond the acknowledged size counts again.
//! INVARIANT: a segment is appended to only while no later one can be on the disk.
//! INVARIANT: nothing is acknowledged for longer than a publication's rhythm once the folder is not where it was opened.
//! INVARIANT: an old segment is gone, durably, before the segment after its successor is made.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::AppendError;
use super::disk::Disk;
use super::index::{self, Marks};
use super::segment::{Segment, Stored};
use super::state::Core;
use super::tiles::Publisher;

/// An encoded entry on its way to the disk.
#[derive(Debug)]
pub(crate) struct Pending {
    pub stored: Arc<Stored>,
    pub id: [u8; 16],
    pub marks: Marks,
    pub reply: oneshot::Sender<Result<u64, AppendError>>,
}

#[derive(Debug)]
pub(crate) enum Command {
    Append(Pending),
    /// Answers whether everything is published.
    Publish(oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
    /// Ends at once, as a crash would.
    #[cfg(test)]
    Abandon(oneshot::Sender<()>),
}

/// What to do after a command.
enum Next {
    Go,
    End,
}

pub(crate) struct Writer {
    pub core: Arc<Core>,
    pub disk: Box<dyn Disk>,
    /// Holds the lock on the folder for as long as the writer lives.
    pub lock: File,
    /// None after a failure, until a new one could be made.
    pub segment: Option<Segment>,
    /// Segments given up, oldest first; removed once everything is published.
    pub old_segments: Vec<PathBuf>,
    pub attempt: u32,
    pub publisher: Publisher,
    pub unpublished_bytes: u64,
    pub last_probe: Option<Instant>,
}

impl Writer {
    /// Serves the queue until it is closed.
    pub fn run(mut self, queue: &Receiver<Command>) {
        let every = self.core.limits.publish_every;
        let mut publish_at = Instant::now() + every;
        loop {
            let wait = publish_at.saturating_duration_since(Instant::now());
            match queue.recv_timeout(wait) {
                Ok(command) => {
                    if let Next::End = self.take(command, queue) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return;
                }
            }
            if Instant::now() >= publish_at {
                self.publish();
                publish_at = Instant::now() + every;
                if self.segment.is_none() {
                    self.probe();
                }
            }
        }
    }

    /// Takes one command and, for an append, all that arrived while the last sync ran.
    fn take(&mut self, command: Command, queue: &Receiver<Command>) -> Next {
        let mut batch = Vec::new();
        let mut command = Some(command);
        while let Some(taken) = command.take() {
            match taken {
                Command::Append(pending) => {
                    batch.push(pending);
                    if batch.len() < self.core.limits.batch_max {
                        command = queue.try_recv().ok();
                    }
                }
                other => {
                    self.commit(std::mem::take(&mut batch));
                    return self.serve(other);
                }
            }
        }
        self.commit(batch);
        Next::Go
    }

    fn serve(&mut self, command: Command) -> Next {
        match command {
            Command::Append(pending) => self.commit(vec![pending]),
            Command::Publish(reply) => {
                let published = self.publish();
                let _ = reply.send(published);
            }
            Command::Close(reply) => {
                self.finish();
                let _ = reply.send(());
                return Next::End;
            }
            #[cfg(test)]
            Command::Abandon(reply) => {
                // The lock must be free when the test goes on.
                let _ = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
                let _ = reply.send(());
                return Next::End;
            }
        }
        Next::Go
    }

    /// Appends, syncs once, extends the tree, signs, and only then releases the waiters.
    pub fn commit(&mut self, batch: Vec<Pending>) {
        if batch.is_empty() {
            return;
        }
        if self.unpublished_bytes > self.core.limits.unpublished_bytes_max {
            self.publish();
        }
        let writable = self.unpublished_bytes <= self.core.limits.unpublished_bytes_max && self.probe();
        let Some(segment) = self.segment.as_mut().filter(|_| writable) else {
            return refuse(batch);
        };
        if let Err(cause) = segment.append(batch.iter().map(|pending| pending.stored.as_ref())) {
            self.give_up(&cause);
            return refuse(batch);
        }
        match self.core.extend(&batch) {
            Ok(first) => {
                for (index, pending) in (first..).zip(batch) {
                    let side = pending.stored.side.as_ref().map_or(0, Vec::len);
                    self.unpublished_bytes += (pending.stored.entry.len() + side) as u64;
                    // A caller that went away leaves its entry behind, as it should.
                    let _ = pending.reply.send(Ok(index));
                }
            }
            Err(cause) => {
                // Durable but unsigned: no further entry may follow until a restart signs them.
                tracing::error!(%cause, "the checkpoint could not be signed");
                self.unpublished_bytes = u64::MAX;
                self.failed(&cause.to_string());
                refuse(batch);
            }
        }
    }

    fn give_up(&mut self, cause: &io::Error) {
        tracing::error!(%cause, "an append to the record failed");
        if let Some(mut segment) = self.segment.take() {
            if cause.kind() == io::ErrorKind::StorageFull {
                segment.give_up();
            }
            self.old_segments.push(segment.path);
        }
        self.last_probe = Some(Instant::now());
        self.failed(&cause.to_string());
    }

    fn failed(&self, fault: &str) {
        self.core.write(|state| {
            state.writable = false;
            state.fault = Some(fault.to_owned());
        });
    }

    /// Whether there is a segment to append to; after a failure, tries to make one, not too often.
    fn probe(&mut self) -> bool {
        if self.segment.is_some() {
            return true;
        }
        let early = |last: Instant| last.elapsed() < self.core.limits.probe_every;
        if self.last_probe.is_some_and(early) {
            return false;
        }
        self.last_probe = Some(Instant::now());
        match self.new_segment() {
            Ok(()) => {
                self.core.write(|state| {
                    state.writable = true;
                    state.fault = None;
                });
                true
            }
            Err(cause) => {
                self.failed(&cause.to_string());
                false
            }
        }
    }

    /// Whether the folder's name still leads to the folder that was locked: entries that go on into one that was moved
    /// or removed would be acknowledged and found by nobody.
    fn at_home(&self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let (locked, named) = (self.lock.metadata()?, std::fs::metadata(&self.core.files.dir)?);
        if (locked.dev(), locked.ino()) == (named.dev(), named.ino()) {
            return Ok(());
        }
        Err(io::Error::other("the record's folder was replaced by another: put it back"))
    }

    /// Makes a segment that starts at the acknowledged size; whatever older ones hold from there on is void.
    ///
    /// Even a failed attempt may have left the new name on the disk, so the old segment is not appended to again.
    pub fn new_segment(&mut self) -> io::Result<()> {
        self.at_home()?;
        let dir = self.core.files.dir.join("segment");
        let first = self.core.read(|state| state.edge.size());
        self.old_segments.extend(self.segment.take().map(|replaced| replaced.path));
        self.attempt += 1;
        match Segment::create(self.disk.as_ref(), &dir, first, self.attempt, self.core.keys.origin()) {
            Ok(segment) => {
                self.segment = Some(segment);
                Ok(())
            }
            Err(cause) => {
                self.old_segments.push(dir.join(super::segment::file_name(first, self.attempt)));
                Err(cause)
            }
        }
    }

    /// Writes tiles and checkpoint; true when everything durable is published.
    pub fn publish(&mut self) -> bool {
        if let Err(cause) = self.at_home() {
            if self.segment.is_some() {
                self.give_up(&cause);
            }
            return false;
        }
        match self.try_publish() {
            Ok(()) => true,
            Err(cause) => {
                tracing::error!(%cause, "publishing the record failed and will be tried again");
                let writable = self.segment.is_some();
                self.core.write(|state| {
                    state.writable = writable;
                    state.fault = Some(format!("publishing: {cause}"));
                });
                false
            }
        }
    }

    fn try_publish(&mut self) -> io::Result<()> {
        if let Some(publication) = self.core.publication() {
            let (disk, dir) = (self.disk.as_ref(), &self.core.files.dir);
            self.publisher.publish(disk, dir, &publication.files, &publication.checkpoint)?;
            self.core.published(publication);
            if self.unpublished_bytes != u64::MAX {
                self.unpublished_bytes = 0;
            }
            let healthy = self.segment.is_some();
            self.core.write(|state| state.fault = state.fault.take().filter(|_| !healthy));
        }
        self.retire()?;
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.durable_len > self.core.limits.segment_bytes_max)
        {
            self.new_segment()?;
            self.retire()?;
        }
        self.file_index()
    }

    /// Removes old segments, oldest first and durably one by one: all they held is published.
    fn retire(&mut self) -> io::Result<()> {
        let dir = self.core.files.dir.join("segment");
        while let Some(path) = self.old_segments.first() {
            if path.exists() {
                self.disk.remove(path)?;
            }
            // Also for one that is gone already: an earlier attempt may not have become durable.
            self.disk.sync_dir(&dir)?;
            self.old_segments.remove(0);
        }
        Ok(())
    }

    /// Moves receipt ids of published entries from memory to sorted files.
    pub fn file_index(&mut self) -> io::Result<()> {
        let dir = self.core.files.dir.join("index");
        while let Some((first, last, bytes)) = self.core.read(|state| state.index.due(state.published)) {
            let file = index::write(self.disk.as_ref(), &dir, first, last, &bytes)?;
            self.core.write(|state| state.index.filed(file));
            let files = self.core.read(|state| state.index.files.clone());
            if let Some(merged) = index::merge(self.disk.as_ref(), &dir, &files)? {
                self.core.write(|state| state.index.files = Arc::new(merged));
            }
        }
        Ok(())
    }

    /// Leaves everything published and no segment behind, when the disk lets it.
    fn finish(&mut self) {
        if self.publish() {
            if let Some(segment) = self.segment.take() {
                self.old_segments.push(segment.path);
            }
            if let Err(cause) = self.retire() {
                tracing::warn!(%cause, "a published segment could not be removed and will be at the next start");
            }
        }
        self.core.write(|state| state.writable = false);
        let _ = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
    }
}

fn refuse(batch: Vec<Pending>) {
    for pending in batch {
        let _ = pending.reply.send(Err(AppendError::RecordUnavailable));
    }
}
