//! Encapsulated messages of one Arrow IPC file: where each begins, its metadata, and its body on demand.
//!
//! INVARIANT: a stream without its end mark, or with bytes behind it, is damaged: a cut-off file is never taken as whole.

use std::{fs::File, os::unix::fs::FileExt};

use arrow::datatypes::Schema;
use arrow::{
    buffer::{Buffer, MutableBuffer},
    ipc::{self, MetadataVersion, convert::fb_to_schema},
};

use crate::{
    SourceError, SourceLimits,
    place::{FileIdentity, Place},
};

const MAGIC: &[u8; 6] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xff; 4];

/// One message: its flatbuffer, and where its body lies.
pub(super) struct Message {
    pub(super) head: Vec<u8>,
    body_at: u64,
    body_bytes: u64,
}

#[derive(Debug)]
enum Form {
    /// Offsets of the dictionaries, then of the batches, the next one last.
    File(Vec<u64>),
    /// Offset of the next message.
    Stream(u64),
}

#[derive(Debug)]
pub(super) struct Messages {
    file: File,
    place: Place,
    form: Form,
    head_bytes_max: u64,
    body_bytes_max: u64,
}

fn damaged(what: &str) -> SourceError {
    SourceError::unavailable(format!("an Arrow file {what}"))
}

impl Messages {
    /// Opens the file, which must be the one at `place` still, and reads its schema. Blocking.
    pub(super) fn open(place: &Place, limits: &SourceLimits) -> Result<(Self, Schema), SourceError> {
        let file = File::open(&place.path)?;
        if FileIdentity::of(&file.metadata()?) != place.identity {
            return Err(SourceError::Changed);
        }
        let mut messages = Self {
            file,
            place: place.clone(),
            form: Form::Stream(0),
            head_bytes_max: limits.footer_bytes_max,
            body_bytes_max: limits.arrow_batch_bytes_max as u64,
        };
        let mut start = [0; 6];
        if place.identity.bytes >= 8 {
            messages.file.read_exact_at(&mut start, 0)?;
        }
        let schema = if &start == MAGIC {
            messages.footer(limits)?
        } else {
            let first = messages.next()?.ok_or_else(|| damaged("has no schema"))?;
            let message = ipc::root_as_message(&first.head).map_err(|_| damaged("has a broken message"))?;
            let schema =
                message.header_as_schema().ok_or_else(|| damaged("does not begin with its schema"))?;
            check_version(message.version())?;
            read_schema(schema, limits)?
        };
        Ok((messages, schema))
    }

    /// Schema and blocks of the file form.
    fn footer(&mut self, limits: &SourceLimits) -> Result<Schema, SourceError> {
        let bytes = self.place.identity.bytes;
        let mut tail = [0; 10];
        let at = bytes.checked_sub(10).ok_or_else(|| damaged("is too short"))?;
        self.file.read_exact_at(&mut tail, at)?;
        let [a, b, c, d, magic @ ..] = tail;
        if &magic != MAGIC {
            return Err(damaged("has no end mark"));
        }
        let length = u32::from_le_bytes([a, b, c, d]);
        let footer = self.bytes_at(
            at.checked_sub(u64::from(length)).ok_or_else(|| damaged("is shorter than its footer"))?,
            u64::from(length),
        )?;
        let footer = ipc::root_as_footer(&footer).map_err(|_| damaged("has a broken footer"))?;
        check_version(footer.version())?;
        let schema = footer.schema().ok_or_else(|| damaged("has no schema"))?;
        let blocks =
            footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
        let offsets =
            blocks.map(|block| u64::try_from(block.offset()).map_err(|_| damaged("has a broken footer")));
        let mut offsets = offsets.collect::<Result<Vec<u64>, _>>()?;
        offsets.reverse();
        self.form = Form::File(offsets);
        read_schema(schema, limits)
    }

    /// Metadata at a place, under its ceiling.
    fn bytes_at(&self, at: u64, bytes: u64) -> Result<Vec<u8>, SourceError> {
        if bytes > self.head_bytes_max {
            return Err(SourceError::TooLarge(format!("metadata above {} bytes", self.head_bytes_max)));
        }
        if at.checked_add(bytes).is_none_or(|end| end > self.place.identity.bytes) {
            return Err(damaged("is cut off"));
        }
        let mut read = vec![0; usize::try_from(bytes).map_err(|_| damaged("is cut off"))?];
        self.file.read_exact_at(&mut read, at)?;
        Ok(read)
    }

    /// The next message; at the end the identity is compared, so a file written to meanwhile is not taken as whole.
    pub(super) fn next(&mut self) -> Result<Option<Message>, SourceError> {
        let at = match &mut self.form {
            Form::File(offsets) => offsets.pop(),
            Form::Stream(at) => Some(*at),
        };
        let found = match at {
            Some(at) => self.message(at)?,
            None => None,
        };
        if let (Form::Stream(at), Some(message)) = (&mut self.form, &found) {
            *at = message.body_at + message.body_bytes;
        }
        if found.is_none() && FileIdentity::of(&self.file.metadata()?) != self.place.identity {
            return Err(SourceError::Changed);
        }
        Ok(found)
    }

    /// The message that begins at `at`; none is the end mark.
    fn message(&self, at: u64) -> Result<Option<Message>, SourceError> {
        let word = |at: u64| {
            let bytes = self.bytes_at(at, 4)?;
            <[u8; 4]>::try_from(bytes.as_slice()).map_err(|_| damaged("is cut off"))
        };
        let first = word(at)?;
        // Before format version 0.15 the length came without a mark in front.
        let (length, head_at) = if first == CONTINUATION { (word(at + 4)?, at + 8) } else { (first, at + 4) };
        let length = u64::from(u32::from_le_bytes(length));
        if length == 0 {
            let last = matches!(self.form, Form::Stream(_)) && head_at == self.place.identity.bytes;
            return if last { Ok(None) } else { Err(damaged("goes on after its end mark")) };
        }
        let head = self.bytes_at(head_at, length)?;
        let body = ipc::root_as_message(&head).map_err(|_| damaged("has a broken message"))?.bodyLength();
        let body_bytes = u64::try_from(body).map_err(|_| damaged("has a broken message"))?;
        let body_at = head_at + length;
        if body_at.checked_add(body_bytes).is_none_or(|end| end > self.place.identity.bytes) {
            return Err(damaged("is cut off"));
        }
        Ok(Some(Message { head, body_at, body_bytes }))
    }

    pub(super) fn body_bytes(&self, message: &Message) -> Result<usize, SourceError> {
        if message.body_bytes > self.body_bytes_max {
            return Err(SourceError::TooLarge(format!("a record batch above {} bytes", self.body_bytes_max)));
        }
        usize::try_from(message.body_bytes).map_err(|_| damaged("is cut off"))
    }

    /// The body of a message, under its ceiling.
    pub(super) fn body(&self, message: &Message) -> Result<Buffer, SourceError> {
        let mut body = MutableBuffer::from_len_zeroed(self.body_bytes(message)?);
        self.file.read_exact_at(body.as_slice_mut(), message.body_at)?;
        Ok(body.into())
    }
}

fn check_version(version: MetadataVersion) -> Result<(), SourceError> {
    match version {
        MetadataVersion::V4 | MetadataVersion::V5 => Ok(()),
        _ => Err(damaged("is of a version that is not read")),
    }
}

/// The schema, under its ceiling of columns. It panics on types nobody knows; the caller's thread is made for that.
fn read_schema(schema: ipc::Schema<'_>, limits: &SourceLimits) -> Result<Schema, SourceError> {
    if schema.endianness() != ipc::Endianness::Little {
        return Err(damaged("is big-endian"));
    }
    let columns = schema.fields().map_or(0, |fields| fields.len());
    if columns > limits.columns_max {
        return Err(SourceError::TooLarge(format!("more than {} columns", limits.columns_max)));
    }
    if schema.fields().is_none() {
        return Err(damaged("has no columns"));
    }
    Ok(fb_to_schema(schema))
}
