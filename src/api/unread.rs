//! A head that hyper cannot read never reaches the router: hyper's bare answer to it gets the problem every other one has.
//!
//! INVARIANT: only an answer without any body is exchanged, and of three statuses that hyper gives by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Error;

/// What is written goes out as it is, but for hyper's own answers.
#[derive(Debug)]
pub struct Unread<S> {
    stream: S,
    header_bytes_max: usize,
    instead: Option<Instead>,
}

/// An answer on its way in place of another.
#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    sent: usize,
    /// Length of what it stands for.
    length: usize,
}

impl<S> Unread<S> {
    pub fn new(stream: S, header_bytes_max: usize) -> Self {
        Self { stream, header_bytes_max, instead: None }
    }

    /// The problem in place of a bare answer.
    fn instead_of(&self, bytes: &[u8]) -> Option<Instead> {
        let head = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
        let error = match head.get(..4)? {
            b"400 " => Error::Malformed("this is no HTTP/1.1 message; see RFC 9112"),
            b"414 " | b"431 " => Error::HeadTooLarge { max: self.header_bytes_max },
            _ => return None,
        };
        let bare = bytes.ends_with(b"\r\n\r\n") && has(bytes, b"content-length: 0\r\n");
        bare.then(|| Instead { bytes: answer(&error), sent: 0, length: bytes.len() })
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn answer(error: &Error) -> Vec<u8> {
    let body = serde_json::to_vec(&error.problem()).unwrap_or_default();
    let reason = if error.status() == 400 { "Bad Request" } else { "Request Header Fields Too Large" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        error.status(),
        body.len()
    );
    [head.into_bytes(), body].concat()
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_none() {
            this.instead = this.instead_of(bytes);
        }
        let Some(instead) = &mut this.instead else {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        while let Some(rest) = instead.bytes.get(instead.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            instead.sent += sent;
        }
        let length = instead.length.min(bytes.len());
        this.instead = None;
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        match first {
            Some(first) if self.instead.is_some() || self.instead_of(first).is_some() => {
                self.poll_write(cx, first)
            }
            _ => Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
