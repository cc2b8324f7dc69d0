//! Records of one CSV file, read in constant memory.
//!
//! INVARIANT: a line above its ceiling ends the reading with an error before it is in memory whole.

use std::{
    fs::File,
    io::{self, Read},
};

use csv_core::ReadRecordResult;

use crate::{
    SourceError, SourceLimits,
    place::{FileIdentity, Place},
};

const BUFFER_BYTES: usize = 1 << 16;

/// One reader, from the first data record on.
pub(crate) struct Records {
    file: File,
    place: Place,
    parser: csv_core::Reader,
    input: Vec<u8>,
    at: usize,
    filled: usize,
    cells: Vec<u8>,
    ends: Vec<usize>,
    line_bytes_max: usize,
    columns_max: usize,
    /// As in the first record, trimmed.
    pub(crate) header: Vec<String>,
}

impl Records {
    /// Opens the file and reads its header; the file must be the one at `place` still. Blocking.
    pub(crate) fn open(place: &Place, limits: &SourceLimits) -> Result<Self, SourceError> {
        let file = File::open(&place.path)?;
        if FileIdentity::of(&file.metadata()?) != place.identity {
            return Err(SourceError::Changed);
        }
        let mut records = Self {
            file,
            place: place.clone(),
            parser: csv_core::Reader::new(),
            input: vec![0; BUFFER_BYTES],
            at: 0,
            filled: 0,
            cells: vec![0; 4096.min(limits.line_bytes_max.max(1))],
            ends: vec![0; 64.min(limits.columns_max.max(1))],
            line_bytes_max: limits.line_bytes_max.max(1),
            columns_max: limits.columns_max.max(1),
            header: Vec::new(),
        };
        records.fill()?;
        let header = match records.next()? {
            Some(header) => header.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>(),
            None => return Err(SourceError::unavailable("an empty CSV file has no header row")),
        };
        let header = header.map_err(|_| SourceError::unavailable("the header row is not UTF-8"))?;
        records.header = header.into_iter().map(|name| name.trim().to_owned()).collect();
        Ok(records)
    }

    fn fill(&mut self) -> Result<(), SourceError> {
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
        Ok(())
    }

    /// The next record; at the end the identity is compared, so a file written to meanwhile is not taken as whole.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, SourceError> {
        let (mut written, mut ended) = (0, 0);
        loop {
            if self.at == self.filled {
                self.fill()?;
            }
            let input = self.input.get(self.at..self.filled).unwrap_or_default();
            let (outcome, read, cells, ends) = self.parser.read_record(
                input,
                self.cells.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(ended..).unwrap_or_default(),
            );
            self.at += read;
            written += cells;
            ended += ends;
            match outcome {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    grow(&mut self.cells, self.line_bytes_max).ok_or_else(|| {
                        SourceError::TooLarge(format!("a line above {} bytes", self.line_bytes_max))
                    })?
                }
                ReadRecordResult::OutputEndsFull => {
                    grow(&mut self.ends, self.columns_max).ok_or_else(|| {
                        SourceError::TooLarge(format!("more than {} columns", self.columns_max))
                    })?
                }
                ReadRecordResult::Record => {
                    return Ok(Some(Record {
                        cells: self.cells.get(..written).unwrap_or_default(),
                        ends: self.ends.get(..ended).unwrap_or_default(),
                    }));
                }
                ReadRecordResult::End => {
                    if FileIdentity::of(&self.file.metadata()?) != self.place.identity {
                        return Err(SourceError::Changed);
                    }
                    return Ok(None);
                }
            }
        }
    }
}

/// Doubles a buffer up to its ceiling; none when it is there already.
fn grow<T: Default + Clone>(buffer: &mut Vec<T>, max: usize) -> Option<()> {
    if buffer.len() >= max {
        return None;
    }
    buffer.resize((buffer.len() * 2).min(max), T::default());
    Some(())
}

/// The cells of one record, as bytes.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    cells: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, cell: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(cell)?;
        let start = match cell.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.cells.get(start..end)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).filter_map(move |cell| self.get(cell))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::place;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<String>>, SourceError> {
        let folder = tempfile::tempdir().expect("folder");
        let root = fs::canonicalize(folder.path()).expect("root");
        fs::write(root.join("a.csv"), bytes).expect("write");
        let limits = SourceLimits { line_bytes_max: 1000, columns_max: 5, ..SourceLimits::default() };
        let mut records = Records::open(&place::file(&root, "a.csv")?, &limits)?;
        let mut all = vec![records.header.clone()];
        while let Some(record) = records.next()? {
            all.push(record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect());
        }
        Ok(all)
    }

    fn check(bytes: &str, expect: &str) {
        let shown = match read(bytes.as_bytes()) {
            Ok(rows) => rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join("/"),
            Err(SourceError::TooLarge(what)) => format!("! {what}"),
            Err(_) => "! unavailable".to_owned(),
        };
        assert_eq!(shown, expect, "{:?}", bytes.get(..40.min(bytes.len())));
    }

    #[test]
    fn csv_as_departments_write_it() {
        check("a,b\n1,2\n", "a|b/1|2");
        check("\u{feff}a,b\r\n1,2\r\n", "a|b/1|2");
        check(" a , b\n1, 2", "a|b/1| 2");
        check("a,b\n\"x, \"\"y\"\"\nz\",2\n\n3,4\n", "a|b/x, \"y\"\nz|2/3|4");
        check("a,b\n1\n1,2,3\n", "a|b/1/1|2|3");
        check("", "! unavailable");
        check("a,b,c,d,e,f\n", "! more than 5 columns");
        check(&format!("a\n{}\n", "x".repeat(999)), &format!("a/{}", "x".repeat(999)));
        check(&format!("a\n{}\n", "x".repeat(1 << 20)), "! a line above 1000 bytes");
        check(&format!("a\n\"{}", "x\n".repeat(1 << 20)), "! a line above 1000 bytes");
        assert!(matches!(read(b"\xd0\xd5\xc3\xfb,b\n"), Err(SourceError::Unavailable(_))), "GBK header");
    }
}
