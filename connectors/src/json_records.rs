//! Records of one JSON file, in constant memory: objects one a line, or the elements of one array.
//!
//! INVARIANT: a record above its ceiling of bytes or of depth ends the reading with an error before it is in memory whole.

use std::{
    fs::File,
    io::{self, Read},
};

use crate::{
    SourceError, SourceLimits,
    place::{FileIdentity, Place},
};

const BUFFER_BYTES: usize = 1 << 16;
/// Objects and lists inside each other, the record itself included.
pub(crate) const DEPTH_MAX: usize = 64;

/// How the file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Array,
}

/// One reader, from the first record on.
pub(crate) struct Records {
    file: File,
    place: Place,
    input: Vec<u8>,
    at: usize,
    filled: usize,
    form: Form,
    record: Vec<u8>,
    record_bytes_max: usize,
    /// Records given out so far.
    pub(crate) count: u64,
    ended: bool,
}

impl Records {
    /// Opens the file, which must be the one at `place` still, and finds out its form. Blocking.
    pub(crate) fn open(place: &Place, limits: &SourceLimits) -> Result<Self, SourceError> {
        let file = File::open(&place.path)?;
        if FileIdentity::of(&file.metadata()?) != place.identity {
            return Err(SourceError::Changed);
        }
        let mut records = Self {
            file,
            place: place.clone(),
            input: vec![0; BUFFER_BYTES],
            at: 0,
            filled: 0,
            form: Form::Lines,
            record: Vec::new(),
            record_bytes_max: limits.line_bytes_max.max(1),
            count: 0,
            ended: false,
        };
        records.peek()?;
        if records.input.starts_with(b"\xef\xbb\xbf") {
            records.at = 3;
        }
        match records.gap()?.0 {
            Some(b'[') => {
                records.at += 1;
                records.form = Form::Array;
            }
            Some(b'{') => {}
            Some(_) => return Err(records.damaged("is neither an object nor a list of objects")),
            None => return Err(SourceError::unavailable("an empty file is no JSON")),
        }
        Ok(records)
    }

    /// What is wrong with the record that comes next, or was just given out.
    pub(crate) fn damaged(&self, what: &'static str) -> SourceError {
        SourceError::Damaged { record: self.count.max(1), what }
    }

    /// The next byte, not taken; none at the end of the file.
    fn peek(&mut self) -> Result<Option<u8>, SourceError> {
        if self.at == self.filled {
            self.at = 0;
            self.filled = 0;
            // Until three bytes are there a byte order mark cannot be told.
            while self.filled < 3 {
                match self.file.read(self.input.get_mut(self.filled..).unwrap_or_default()) {
                    Ok(0) => break,
                    Ok(read) => self.filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(self.input.get(self.at..self.filled).and_then(|rest| rest.first().copied()))
    }

    /// Passes over white space; the byte after it and whether a line ended.
    fn gap(&mut self) -> Result<(Option<u8>, bool), SourceError> {
        let (mut passed, mut line_ended) = (0, false);
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) => {
                    line_ended |= byte == b'\n';
                    self.at += 1;
                    passed += 1;
                    if passed > self.record_bytes_max {
                        return Err(SourceError::TooLarge(format!(
                            "white space above {} bytes",
                            self.record_bytes_max
                        )));
                    }
                }
                other => return Ok((other, line_ended)),
            }
        }
    }

    /// The next record's text; at the end the identity is compared, so a file written to meanwhile is not taken as whole.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let (mut next, mut parted) = self.gap()?;
        self.count += 1;
        if self.form == Form::Array {
            if next == Some(b']') {
                self.at += 1;
                return match self.gap()?.0 {
                    None => self.end(),
                    Some(_) => Err(self.damaged("comes after the end of the list")),
                };
            }
            parted = next == Some(b',');
            if parted && self.count > 1 {
                self.at += 1;
                next = self.gap()?.0;
            }
        }
        match (next, self.form) {
            (None, Form::Lines) => self.end(),
            (None, Form::Array) => Err(self.damaged("is missing: the list has no end")),
            (Some(b'{'), _) if parted || self.count == 1 => {
                self.fill()?;
                Ok(Some(&self.record))
            }
            (Some(b'{'), _) => Err(self.damaged("is not parted from the one before")),
            (Some(_), _) => Err(self.damaged("is not an object")),
        }
    }

    fn end(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if FileIdentity::of(&self.file.metadata()?) != self.place.identity {
            return Err(SourceError::Changed);
        }
        self.ended = true;
        Ok(None)
    }

    /// Takes one object, to its closing brace, into `record`. Which bracket closes which is the parser's to check.
    fn fill(&mut self) -> Result<(), SourceError> {
        self.record.clear();
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        while self.peek()?.is_some() {
            let chunk = self.input.get(self.at..self.filled).unwrap_or_default();
            let mut taken = 0;
            let mut whole = false;
            for byte in chunk {
                taken += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_text => escaped = true,
                    b'"' => in_text = !in_text,
                    b'{' | b'[' if !in_text => depth += 1,
                    b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
                    _ => continue,
                }
                if depth > DEPTH_MAX {
                    return Err(SourceError::TooLarge(format!("a record nested deeper than {DEPTH_MAX}")));
                }
                whole = depth == 0;
                if whole {
                    break;
                }
            }
            if self.record.len() + taken > self.record_bytes_max {
                return Err(SourceError::TooLarge(format!("a record above {} bytes", self.record_bytes_max)));
            }
            self.record.extend_from_slice(chunk.get(..taken).unwrap_or_default());
            self.at += taken;
            if whole {
                return Ok(());
            }
        }
        Err(self.damaged("is cut off"))
    }
}
