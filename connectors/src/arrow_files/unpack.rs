//! Buffers of one Arrow IPC body held against what its metadata claims, and LZ4 unpacked under that claim.
//!
//! INVARIANT: what a batch unpacks to is known and below its ceiling before the first byte of it is unpacked; an LZ4
//! frame that gives more than was claimed ends with an error (the decoder of the library would go on).

use std::io::Read;

use arrow::{
    buffer::{Buffer, MutableBuffer},
    ipc::{CompressionType, RecordBatch},
};

use crate::SourceError;

/// Rows of one batch; an all-null column needs no bytes for them.
const ROWS_MAX: i64 = i32::MAX as i64;
/// Bytes of one entry in the list of buffers: offset and length.
const ENTRY: usize = 16;
/// Of a compressed buffer: it is not compressed after all.
const AS_IT_IS: i64 = -1;
/// So that numbers of any width lie where a processor can read them.
const ALIGNMENT: usize = 64;

fn broken(what: &str) -> SourceError {
    SourceError::unavailable(format!("an Arrow record batch {what}"))
}

/// Where the list of buffers of a message lies, and how the buffers are compressed.
pub(super) struct Claim {
    /// Address of the list, and how many.
    list: (usize, usize),
    buffers: Vec<(usize, usize)>,
    compression: Option<CompressionType>,
}

/// Reads what a batch says of itself and refuses impossible numbers.
pub(super) fn claim(batch: &RecordBatch<'_>) -> Result<Claim, SourceError> {
    let rows = |rows: i64| (0..=ROWS_MAX).contains(&rows);
    if !rows(batch.length()) {
        return Err(broken("claims an impossible number of rows"));
    }
    for node in batch.nodes().into_iter().flatten() {
        if !rows(node.length()) || !(0..=node.length()).contains(&node.null_count()) {
            return Err(broken("claims an impossible number of rows"));
        }
    }
    let list = batch.buffers().ok_or_else(|| broken("has no buffers"))?;
    let mut buffers = Vec::with_capacity(list.len());
    for buffer in list.iter() {
        let place = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let (Ok(offset), Ok(length)) = place else { return Err(broken("claims an impossible buffer")) };
        buffers.push((offset, length));
    }
    let compression = batch.compression().map(|compression| compression.codec());
    Ok(Claim { list: (list.bytes().as_ptr().addr(), list.len()), buffers, compression })
}

/// A body the decoder may have, and the bytes it will be when it is decoded.
pub(super) struct Unpacked {
    pub(super) body: Buffer,
    pub(super) bytes: usize,
}

/// Checks every buffer, and unpacks LZ4: `head` then says where the unpacked buffers are.
pub(super) fn unpack(
    head: &mut [u8],
    claim: Claim,
    body: &Buffer,
    bytes_max: usize,
) -> Result<Unpacked, SourceError> {
    let mut bytes = 0_usize;
    let mut sizes = Vec::with_capacity(claim.buffers.len());
    for (offset, length) in &claim.buffers {
        let packed = offset.checked_add(*length).and_then(|end| body.get(*offset..end));
        let packed = packed.ok_or_else(|| broken("has a buffer outside of its body"))?;
        let size = size(packed, claim.compression)?;
        bytes = bytes.saturating_add(size);
        sizes.push((packed, size));
    }
    if bytes > bytes_max {
        return Err(SourceError::TooLarge(format!("a record batch above {bytes_max} bytes")));
    }
    if claim.compression != Some(CompressionType::LZ4_FRAME) {
        // Zstandard is unpacked by the library, into exactly what was claimed.
        return Ok(Unpacked { body: body.clone(), bytes });
    }
    let (address, count) = claim.list;
    let start = address.checked_sub(head.as_ptr().addr()).ok_or_else(|| broken("has no buffers"))?;
    let list = head.get_mut(start..).and_then(|rest| rest.get_mut(..count * ENTRY));
    let list = list.ok_or_else(|| broken("has no buffers"))?;
    let mut unpacked = MutableBuffer::new(bytes + count * 2 * ALIGNMENT);
    for (entry, (packed, size)) in list.chunks_exact_mut(ENTRY).zip(sizes) {
        let (offset, length) = append(&mut unpacked, packed, size)?;
        let place = [offset.to_le_bytes(), length.to_le_bytes()].concat();
        entry.copy_from_slice(&place);
    }
    Ok(Unpacked { body: unpacked.into(), bytes })
}

/// Bytes a buffer has when it is unpacked.
fn size(packed: &[u8], compression: Option<CompressionType>) -> Result<usize, SourceError> {
    match compression {
        None => Ok(packed.len()),
        Some(_) if packed.is_empty() => Ok(0),
        Some(CompressionType::LZ4_FRAME | CompressionType::ZSTD) => {
            let (claimed, rest) =
                packed.split_first_chunk::<8>().ok_or_else(|| broken("has a buffer without its size"))?;
            match i64::from_le_bytes(*claimed) {
                AS_IT_IS => Ok(rest.len()),
                claimed => usize::try_from(claimed).map_err(|_| broken("claims an impossible buffer")),
            }
        }
        Some(_) => Err(broken("is compressed in a way nobody knows")),
    }
}

/// Appends one LZ4 buffer as one that says of itself it is not compressed; its offset and length.
fn append(out: &mut MutableBuffer, packed: &[u8], size: usize) -> Result<(u64, u64), SourceError> {
    if size == 0 {
        return Ok((out.len() as u64, 0));
    }
    let (claimed, rest) =
        packed.split_first_chunk::<8>().ok_or_else(|| broken("has a buffer without its size"))?;
    let mark = AS_IT_IS.to_le_bytes();
    let padded = (out.len() + mark.len()).next_multiple_of(ALIGNMENT) - mark.len();
    out.resize(padded, 0);
    out.extend_from_slice(&mark);
    if i64::from_le_bytes(*claimed) == AS_IT_IS {
        out.extend_from_slice(rest);
    } else {
        let start = out.len();
        out.resize(start + size, 0);
        let mut frame = lz4_flex::frame::FrameDecoder::new(rest);
        let place = out.as_slice_mut().get_mut(start..).unwrap_or_default();
        frame.read_exact(place).map_err(|_| broken("has a broken LZ4 buffer"))?;
        if frame.read(&mut [0]).map_err(|_| broken("has a broken LZ4 buffer"))? != 0 {
            return Err(broken("has an LZ4 buffer larger than it says"));
        }
    }
    Ok((padded as u64, (mark.len() + size) as u64))
}
