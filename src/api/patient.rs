//! A connection whose other side must take what it is sent, within `idle_timeout_ms`.
//!
//! INVARIANT: whoever takes no byte for so long loses the connection, and with it a seat that others wait for; an
//! answer that is not read would hold both for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Reads as it comes; a write, flush or shutdown that makes no way ends in an error.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    timeout: Duration,
    /// Set while something waits to be taken.
    until: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S: Unpin> Patient<S> {
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, until: Box::pin(tokio::time::sleep(timeout)), waits: false }
    }

    /// What the stream says, or that it has been silent for too long.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let said = poll(Pin::new(&mut self.stream), cx);
        if said.is_ready() {
            self.waits = false;
            return said;
        }
        if !self.waits {
            self.waits = true;
            self.until.as_mut().reset(Instant::now() + self.timeout);
        }
        ready!(self.until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.within(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.within(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_left_and_who_is_slow_is_not() {
        let (mut other, stream) = tokio::io::duplex(1_000);
        let mut patient = Patient::new(stream, Duration::from_millis(200));
        let sent = tokio::spawn(async move {
            let sent = patient.write_all(&[7; 4_000]).await;
            (patient, sent)
        });
        let mut taken = vec![0; 4_000];
        other.read_exact(&mut taken).await.expect("it comes");
        let (mut patient, sent) = sent.await.expect("it ends");
        sent.expect("all of it was taken");
        let fault = patient.write_all(&[7; 4_000]).await.expect_err("nobody takes it");
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }
}
