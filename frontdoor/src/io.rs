//! A connection's bytes, and the head of the request that is being read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::Config;

/// A TCP stream that replays bytes read too early, keeps a copy of request heads, and fails when the peer takes nothing of
/// what is written for too long.
///
/// Its end is kept back from hyper, which ends the connection at it, while a request is answered: the client may only have
/// ended its own side. One that is gone is known by a reset or a failed write, or by nothing having been written for long.
pub(crate) struct Io {
    pub(crate) stream: TcpStream,
    early: Bytes,
    heads: Arc<Heads>,
    patience: Duration,
    /// Runs while a write waits; made when one first has to.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    half_close: Duration,
    /// Runs from the peer's end on; made when that comes.
    parting: Option<Pin<Box<Sleep>>>,
}

impl Io {
    /// A stream that gives its peer the time which `config` allows.
    pub(crate) fn new(stream: TcpStream, early: Bytes, heads: Arc<Heads>, config: &Config) -> Self {
        Self {
            stream,
            early,
            heads,
            patience: config.write_timeout,
            timer: None,
            waiting: false,
            half_close: config.half_close_timeout,
            parting: None,
        }
    }

    /// Ready when the peer has ended its side and nothing is left to be said to it, or nothing was for too long.
    fn poll_parting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.half_close;
        let timer = self
            .parting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if self.heads.is_answering() || self.waiting {
            timer.as_mut().poll(cx)
        } else {
            Poll::Ready(())
        }
    }

    /// What a write came to, or a failure if the peer has taken nothing for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            if let (Poll::Ready(Ok(_)), Some(timer)) = (&written, &mut self.parting) {
                timer.as_mut().reset(Instant::now() + self.half_close);
            }
            return written;
        }
        let deadline = Instant::now() + self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        if self.early.is_empty() {
            if self.parting.is_none() {
                std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            }
            if buf.filled().len() == start && buf.remaining() > 0 {
                return self.poll_parting(cx).map(Ok);
            }
        } else {
            let len = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..len]);
            self.early.advance(len);
        }
        self.heads.read(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
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

/// The head of an HTTP/1 request as it arrived.
///
/// hyper drops a `content-length` that comes with `transfer-encoding`, but such a request is an attempt at
/// smuggling (RFC 9112 section 6.1) that must not reach the application. It also does not tell whether a head
/// that came too slowly had begun, which decides between 408 and a silent close.
pub(crate) struct Heads {
    head: Mutex<Head>,
    /// Requests whose answers are not written yet.
    answering: AtomicUsize,
}

/// A request of HTTP/1 that is not answered as long as this is kept.
pub(crate) struct Answering(Arc<Heads>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Head {
    bytes: Vec<u8>,
    recording: bool,
    limit: usize,
}

/// How a chunked request's length was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its chunks alone.
    Chunked,
    /// By a `content-length`, too.
    Contradictory,
    /// The head came pipelined behind another request, so it is not known.
    Unknown,
}

impl Heads {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            head: Mutex::new(Head {
                bytes: Vec::new(),
                recording: true,
                limit,
            }),
            answering: AtomicUsize::new(0),
        }
    }

    /// A request has come.
    pub(crate) fn answering(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.head
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn read(&self, bytes: &[u8]) {
        let mut head = self.head();
        if head.recording {
            let room = head.limit.saturating_sub(head.bytes.len());
            head.bytes
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Whether a head has begun to arrive.
    pub(crate) fn begun(&self) -> bool {
        !self.head().bytes.is_empty()
    }

    /// Ends the head; what follows is a body if `has_body`.
    pub(crate) fn end(&self, has_body: bool) {
        let mut head = self.head();
        head.bytes.clear();
        head.recording = !has_body;
    }

    /// Whether a body has begun and not ended.
    pub(crate) fn in_body(&self) -> bool {
        !self.head().recording
    }

    /// The body has ended: what follows is a head.
    pub(crate) fn resume(&self) {
        self.head().recording = true;
    }

    /// Tells how the length of a chunked request was given. Call before [`Heads::end`].
    pub(crate) fn framing(&self, method: &Method) -> Framing {
        framing(&self.head().bytes, method)
    }
}

fn framing(head: &[u8], method: &Method) -> Framing {
    let skip = head
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    // A line without its end may go on in what has not arrived.
    let mut lines = head[skip..]
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines
        .next()
        .and_then(|line| line.strip_prefix(method.as_str().as_bytes()));
    if !request_line.is_some_and(|rest| rest.starts_with(b" ")) {
        return Framing::Unknown;
    }
    for line in lines {
        if line.is_empty() {
            return Framing::Chunked;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"content-length") {
            return Framing::Contradictory;
        }
    }
    Framing::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_length_is_seen_wherever_it_stands() {
        let table: [(&str, Framing); 6] = [
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::Chunked,
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-LENGTH: 4\r\n\r\n",
                Framing::Contradictory,
            ),
            (
                "\r\nPOST / HTTP/1.1\nContent-Length: 4\nTransfer-Encoding: chunked\n\n",
                Framing::Contradictory,
            ),
            (
                "POST / HTTP/1.1\r\nte: x\r\n\r\ncontent-length: 4\r\n\r\n",
                Framing::Chunked,
            ),
            ("ding: chunked\r\n\r\n", Framing::Unknown),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n",
                Framing::Unknown,
            ),
        ];
        for (head, expected) in table {
            assert_eq!(
                framing(head.as_bytes(), &Method::POST),
                expected,
                "{head:?}"
            );
        }
    }
}
