//! The codec on a connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use portside_exchange::Message;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{Decoder, Encoder, Event, Violation};

/// Bytes read at once.
const READ: usize = 64 << 10;

thread_local! {
    /// Where reads go first, so that an idle connection needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer broke the protocol, and is to be told so.
    #[error("{}", .0.reason)]
    Violation(Violation),
    /// The connection failed, or ended.
    #[error(transparent)]
    Lost(#[from] io::Error),
}

/// The events of a connection.
pub struct Reader<R> {
    read: R,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from a connection after its handshake. What was read too early belongs into the decoder's buffer.
    pub fn new(read: R, decoder: Decoder) -> Self {
        Self { read, decoder }
    }

    /// The next event. May be dropped and called again.
    ///
    /// # Errors
    /// There is none: the peer broke the protocol, or the connection is gone.
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            if let Some(event) = self.decoder.event().map_err(ReadError::Violation)? {
                return Ok(event);
            }
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
    }

    /// Reads and forgets until the peer is done: closing with unread bytes would reset the connection, and a reset can
    /// overtake a close frame.
    pub async fn linger(&mut self) {
        self.decoder.buffer().clear();
        while poll_fn(|cx| self.poll_more(cx)).await.is_ok() {
            self.decoder.buffer().clear();
        }
    }

    /// Appends at least one byte. Fails at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let buffer = self.decoder.buffer();
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut filled = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.read).poll_read(cx, &mut filled))?;
            buffer.extend_from_slice(filled.filled());
            Poll::Ready(io::Result::Ok(filled.filled().len()))
        });
        Poll::Ready(match ready!(read)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        })
    }
}

/// Writes messages to a connection.
pub struct Writer<W> {
    write: W,
    encoder: Encoder,
    buffer: BytesMut,
    /// The rest of the buffer's last frame.
    rest: Bytes,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes to a connection after its handshake.
    pub fn new(write: W, encoder: Encoder) -> Self {
        Self {
            write,
            encoder,
            buffer: BytesMut::new(),
            rest: Bytes::new(),
        }
    }

    /// Writes a message. Dropped before it is done, the message may be lost, but no other is spoiled.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn message(&mut self, message: Message) -> io::Result<()> {
        self.flush().await?;
        let rest = self.encoder.message(&mut self.buffer, message);
        self.rest = rest.unwrap_or_default();
        self.flush().await
    }

    /// Answers a ping. Dropped before it is done, it may be lost, but nothing else is spoiled.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.encoder.pong(&mut self.buffer, payload);
        self.flush().await
    }

    /// Ends our side of the connection.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }

    /// Writes what is left, and gives its memory back.
    async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            wrote(self.write.write_buf(&mut self.buffer).await?)?;
        }
        self.buffer = BytesMut::new();
        while !self.rest.is_empty() {
            wrote(self.write.write_buf(&mut self.rest).await?)?;
        }
        self.rest = Bytes::new();
        self.write.flush().await
    }
}

fn wrote(len: usize) -> io::Result<()> {
    match len {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}
