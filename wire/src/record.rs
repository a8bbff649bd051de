//! Records: what a connection is made of.
//!
//! Each is its length (four bytes), its kind (one), and what the kind says. A side that does not know a kind refuses the
//! connection, or, from [`kinds::SKIPPABLE`] on, goes on without the record: so a later version says for each kind that it
//! adds whether earlier ones may miss it.

#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use portside_exchange::credit::Window;
use portside_worker::link::CloseReason;

use crate::connection::LinkNumber;
use crate::limits::{Limits, PIECE_BYTES};
use crate::primitives::{Malformed, Reader, Result, Write};

/// The versions that this code speaks: the lowest, and the highest. Of two sides the highest that both speak counts.
pub(crate) const VERSIONS: (u8, u8) = (1, 1);

/// Links that one piece may be for.
pub(crate) const MAX_NAMED: usize = 1024;

/// The longest record: a piece, and the most links that it can name.
const MAX_RECORD: usize = PIECE_BYTES + MAX_NAMED * 10 + 64;

/// The longest text of a [`Record::Bye`], in bytes.
pub(crate) const MAX_REASON: usize = 256;

/// What one side allows the other, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub lowest: u8,
    pub highest: u8,
    pub links: usize,
    pub frame_bytes: usize,
    pub window: Window,
    pub bytes: usize,
}

impl Hello {
    pub fn new(limits: &Limits) -> Self {
        Self {
            lowest: VERSIONS.0,
            highest: VERSIONS.1,
            links: limits.links,
            frame_bytes: limits.frame_bytes,
            window: limits.window,
            bytes: limits.bytes,
        }
    }
}

/// What the receiver has taken of a link, and the sender may send anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub link: LinkNumber,
    pub messages: usize,
    pub bytes: usize,
}

/// What is said of a frame before its first piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    /// Its bytes, all pieces together.
    pub length: usize,
    /// Whether it is outside of the connection's window.
    pub free: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// The first in each direction, and only that.
    Hello(Hello),
    /// A piece of a frame, for each of these links.
    Data {
        links: Vec<LinkNumber>,
        /// What the frame is, if this is its first piece.
        first: Option<First>,
        piece: Bytes,
    },
    /// What the receiver has taken: of the connection in all, and of links.
    Credit {
        bytes: usize,
        grants: Vec<Grant>,
    },
    /// The sender sends nothing more on the link.
    Close {
        link: LinkNumber,
        reason: CloseReason,
    },
    /// Whoever gets it answers with a pong.
    Ping,
    Pong,
    /// The last in each direction: why the sender ends the connection, for people; nothing if it is not the receiver's fault.
    Bye(Option<String>),
    /// Of a kind that may be skipped.
    Skipped,
}

mod kinds {
    pub const HELLO: u8 = 1;
    pub const DATA: u8 = 2;
    pub const CREDIT: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const PING: u8 = 5;
    pub const PONG: u8 = 6;
    pub const BYE: u8 = 7;
    pub const SKIPPABLE: u8 = 0x80;
}

/// Appends a record. What `body` writes must be as [`read`] wants it.
fn put(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    body(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a piece for links; `write` appends its bytes.
pub(crate) fn put_data(
    links: &[LinkNumber],
    first: Option<First>,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) {
    put(kinds::DATA, out, |out| {
        out.put_size(links.len());
        links.iter().for_each(|link| out.put_number(link.0));
        out.put_option(first, |out, first| {
            out.put_size(first.length);
            out.put_flag(first.free);
        });
        write(out);
    });
}

/// Appends any other record.
pub(crate) fn put_record(record: &Record, out: &mut BytesMut) {
    match record {
        Record::Hello(hello) => put(kinds::HELLO, out, |out| {
            out.put_slice(&[hello.lowest, hello.highest]);
            let Window { messages, bytes } = hello.window;
            for size in [hello.links, hello.frame_bytes, messages, bytes, hello.bytes] {
                out.put_size(size);
            }
        }),
        Record::Data {
            links,
            first,
            piece,
        } => put_data(links, *first, out, |out| out.put_slice(piece)),
        Record::Credit { bytes, grants } => put(kinds::CREDIT, out, |out| {
            out.put_size(*bytes);
            out.put_size(grants.len());
            for grant in grants {
                out.put_number(grant.link.0);
                out.put_size(grant.messages);
                out.put_size(grant.bytes);
            }
        }),
        Record::Close { link, reason } => put(kinds::CLOSE, out, |out| {
            out.put_number(link.0);
            out.put_reason(*reason);
        }),
        Record::Ping => put(kinds::PING, out, |_| {}),
        Record::Pong => put(kinds::PONG, out, |_| {}),
        Record::Bye(reason) => put(kinds::BYE, out, |out| {
            out.put_option(reason.as_ref(), |out, reason| out.put_text(reason));
        }),
        Record::Skipped => put(kinds::SKIPPABLE, out, |_| {}),
    }
}

/// Takes the next record from the front, if all of it is there.
pub(crate) fn next(from: &mut BytesMut) -> Result<Option<Record>> {
    let Some((length, rest)) = from.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_RECORD {
        return Err(Malformed("a record is too long"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    from.advance(4);
    read(from.split_to(length).freeze()).map(Some)
}

fn read(bytes: Bytes) -> Result<Record> {
    let mut from = Reader(bytes);
    let record = match from.byte()? {
        kinds::HELLO => Record::Hello(hello(&mut from)?),
        kinds::DATA => data(&mut from)?,
        kinds::CREDIT => Record::Credit {
            bytes: from.size()?,
            grants: (0..from.count()?)
                .map(|_| grant(&mut from))
                .collect::<Result<_>>()?,
        },
        kinds::CLOSE => Record::Close {
            link: from.number().map(LinkNumber)?,
            reason: from.reason()?,
        },
        kinds::PING => Record::Ping,
        kinds::PONG => Record::Pong,
        kinds::BYE => Record::Bye(from.option(reason)?),
        kind if kind >= kinds::SKIPPABLE => return Ok(Record::Skipped),
        _ => return Err(Malformed("a record of an unknown kind")),
    };
    from.end()?;
    Ok(record)
}

/// What a later version adds to it comes behind, and earlier ones may miss it.
fn hello(from: &mut Reader) -> Result<Hello> {
    let [lowest, highest] = from.array()?;
    let hello = Hello {
        lowest,
        highest,
        links: from.size()?,
        frame_bytes: from.size()?,
        window: Window {
            messages: from.size()?,
            bytes: from.size()?,
        },
        bytes: from.size()?,
    };
    from.rest();
    Ok(hello)
}

fn data(from: &mut Reader) -> Result<Record> {
    let count = from.count()?;
    if !(1..=MAX_NAMED).contains(&count) {
        return Err(Malformed("a piece is for no link, or for too many"));
    }
    let links = (0..count).map(|_| from.number().map(LinkNumber));
    Ok(Record::Data {
        links: links.collect::<Result<_>>()?,
        first: from.option(first)?,
        piece: from.rest(),
    })
}

fn first(from: &mut Reader) -> Result<First> {
    Ok(First {
        length: from.size()?,
        free: from.flag()?,
    })
}

fn grant(from: &mut Reader) -> Result<Grant> {
    Ok(Grant {
        link: from.number().map(LinkNumber)?,
        messages: from.size()?,
        bytes: from.size()?,
    })
}

fn reason(from: &mut Reader) -> Result<String> {
    let reason = from.text()?;
    let is_short = reason.len() <= MAX_REASON;
    is_short
        .then_some(reason)
        .ok_or(Malformed("a reason is too long"))
}
