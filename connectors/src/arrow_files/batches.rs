//! Record batches of one Arrow IPC file, decoded one at a time over the dictionaries so far.

use std::{collections::HashMap, collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Schema, SchemaRef},
    ipc::{
        self, MessageHeader,
        reader::{RecordBatchDecoder, read_dictionary},
    },
};

use super::{
    messages::{Message, Messages},
    unpack::{Unpacked, claim, unpack},
};
use crate::{SourceError, SourceLimits, place::Place, scanned::Memory};

/// Dictionaries may be copied so many times their ceiling while they grow; a delta copies all that was there.
const GROWTH_MAX: usize = 64;

pub(super) struct Batches {
    messages: Messages,
    pub(super) schema: SchemaRef,
    projection: Vec<usize>,
    /// Dictionaries of the projected columns.
    wanted: HashSet<i64>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Bytes of all that dictionaries were made of.
    grown: usize,
    bytes_max: usize,
}

fn damaged(what: &str) -> SourceError {
    SourceError::unavailable(format!("an Arrow file {what}"))
}

impl Batches {
    /// Opens a file and reads its schema; all of its columns are projected. Blocking.
    pub(super) fn open(place: &Place, limits: &SourceLimits) -> Result<Self, SourceError> {
        let (messages, schema) = Messages::open(place, limits)?;
        Ok(Self {
            messages,
            schema: Arc::new(schema),
            projection: Vec::new(),
            wanted: HashSet::new(),
            dictionaries: HashMap::new(),
            grown: 0,
            bytes_max: limits.arrow_batch_bytes_max,
        })
    }

    /// Reads these columns, in this order, and only the dictionaries they need.
    pub(super) fn project(&mut self, columns: Vec<usize>) -> Result<(), SourceError> {
        for column in &columns {
            let field = self.schema.fields().get(*column).ok_or(SourceError::Changed)?;
            // Deprecated without another way: the decoder itself finds dictionaries by it.
            #[allow(deprecated)]
            if let (DataType::Dictionary(..), Some(id)) = (field.data_type(), field.dict_id()) {
                self.wanted.insert(id);
            }
        }
        self.projection = columns;
        Ok(())
    }

    /// The next batch of the projected columns.
    pub(super) fn next(&mut self, memory: &Memory) -> Result<Option<RecordBatch>, SourceError> {
        while let Some(message) = self.messages.next()? {
            let kind = self.kind(&message)?;
            match kind {
                MessageHeader::DictionaryBatch => self.dictionary(message, memory)?,
                MessageHeader::RecordBatch => return self.batch(message, memory).map(Some),
                _ => return Err(damaged("has a message that is neither dictionary nor rows")),
            }
        }
        Ok(None)
    }

    fn kind(&self, message: &Message) -> Result<MessageHeader, SourceError> {
        Ok(root(&message.head)?.header_type())
    }

    fn dictionary_bytes(&self) -> usize {
        self.dictionaries.values().map(|values| values.get_array_memory_size()).sum()
    }

    fn dictionary(&mut self, mut message: Message, memory: &Memory) -> Result<(), SourceError> {
        let found = root(&message.head)?.header_as_dictionary_batch();
        let found = found.ok_or_else(|| damaged("has a broken dictionary"))?;
        let id = found.id();
        if !self.wanted.contains(&id) {
            return Ok(());
        }
        let rows = found.data().ok_or_else(|| damaged("has a broken dictionary"))?;
        let claimed = claim(&rows)?;
        let packed = self.messages.body_bytes(&message)?;
        memory.hold(self.dictionary_bytes() * 2 + packed + self.bytes_max.min(packed.saturating_mul(2)))?;
        let body = self.messages.body(&message)?;
        let Unpacked { body, bytes } = unpack(&mut message.head, claimed, &body, self.bytes_max)?;
        self.grown = self.grown.saturating_add(bytes + self.dictionaries.get(&id).map_or(0, size));
        let parsed = root(&message.head)?;
        let batch = parsed.header_as_dictionary_batch().ok_or_else(|| damaged("has a broken dictionary"))?;
        read_dictionary(&body, batch, &self.schema, &mut self.dictionaries, &parsed.version())?;
        if self.dictionary_bytes() > self.bytes_max || self.grown > self.bytes_max.saturating_mul(GROWTH_MAX)
        {
            return Err(SourceError::TooLarge(format!("dictionaries above {} bytes", self.bytes_max)));
        }
        Ok(())
    }

    fn batch(&mut self, mut message: Message, memory: &Memory) -> Result<RecordBatch, SourceError> {
        let broken = || damaged("has a broken record batch");
        let rows = root(&message.head)?.header_as_record_batch().ok_or_else(broken)?;
        let count = usize::try_from(rows.length()).map_err(|_| broken())?;
        let claimed = claim(&rows)?;
        if self.projection.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            return Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?);
        }
        let packed = self.messages.body_bytes(&message)?;
        memory.hold(self.dictionary_bytes() + packed)?;
        let body = self.messages.body(&message)?;
        let Unpacked { body, bytes } = unpack(&mut message.head, claimed, &body, self.bytes_max)?;
        memory.hold(self.dictionary_bytes() + packed + bytes)?;
        let parsed = root(&message.head)?;
        let rows = parsed.header_as_record_batch().ok_or_else(broken)?;
        let (schema, version) = (Arc::clone(&self.schema), parsed.version());
        let decoder = RecordBatchDecoder::try_new(&body, rows, schema, &self.dictionaries, &version)?;
        Ok(decoder.with_projection(Some(&self.projection)).read_record_batch()?)
    }
}

fn size(values: &ArrayRef) -> usize {
    values.get_array_memory_size()
}

fn root(head: &[u8]) -> Result<ipc::Message<'_>, SourceError> {
    ipc::root_as_message(head).map_err(|_| damaged("has a broken message"))
}
