//! From bytes to items.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portside_core::ids::{Epoch, PodId, WorkerKey};
use portside_exchange::{BodyError, Lasts, Message};
use portside_worker::link::{Failure, FailureCode, Push, Ran, Scheduled};

use super::{
    Accepted, Body, Content, Frame, Head, InstanceNumber, Item, Kind, MAX_NAMES, Opening, Refusal,
    Request, kinds,
};
use crate::primitives::{Malformed, Reader, Result};

/// Reads an item, all of it.
pub(crate) fn decode(bytes: Bytes) -> Result<Item> {
    let mut from = Reader(bytes);
    let kind = from.byte()?;
    if kind >= kinds::SKIPPABLE {
        return Ok(Item::Skipped);
    }
    let item = match kind {
        kinds::OPEN => Item::Open(Box::new(opening(&mut from)?)),
        kinds::ACCEPT => Item::Accept(Accepted {
            epoch: epoch(&mut from)?,
        }),
        kinds::REFUSE => Item::Refuse(refusal(&mut from)?),
        kind => Item::Frame(frame(kind, &mut from)?),
    };
    from.end()?;
    Ok(item)
}

fn epoch(from: &mut Reader) -> Result<Epoch> {
    from.number().map(Epoch)
}

fn instance(from: &mut Reader) -> Result<InstanceNumber> {
    from.number().map(InstanceNumber)
}

fn opening(from: &mut Reader) -> Result<Opening> {
    let (script, name) = (from.text()?, from.text()?);
    let to = WorkerKey::new(&script, &name);
    Ok(Opening {
        to: to.map_err(|_| Malformed("a worker's name is too long"))?,
        epoch: epoch(from)?,
        name: from.option(Reader::name)?,
        reached: from.option(instance)?,
        request: from.option(Reader::name)?,
        reconnected: from.flag()?,
        kind: match from.byte()? {
            0 => Kind::Port,
            1 => Kind::Fetch(Box::new(request(from)?)),
            2 => Kind::Rpc(Box::new(push(from)?)),
            3 => Kind::Scheduled(Scheduled {
                time: i64::from_be_bytes(from.array()?),
                cron: from.text()?,
            }),
            4 => Kind::Adopt(from.rest()),
            _ => return Err(Malformed("a link of an unknown kind")),
        },
    })
}

fn request(from: &mut Reader) -> Result<Request> {
    Ok(Request {
        method: Method::from_bytes(&from.sized()?).map_err(|_| Malformed("not a method"))?,
        url: from.text()?,
        headers: headers(from)?,
        websocket: from.flag()?,
        body: match from.byte()? {
            0 => Body::Full(from.rest()),
            1 => Body::Follows,
            _ => return Err(Malformed("a body of an unknown kind")),
        },
    })
}

fn headers(from: &mut Reader) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for _ in 0..from.count()? {
        let name = HeaderName::from_bytes(&from.sized()?);
        let name = name.map_err(|_| Malformed("not a header's name"))?;
        let value = HeaderValue::from_maybe_shared(from.sized()?);
        let value = value.map_err(|_| Malformed("not a header's value"))?;
        let added = headers.try_append(name, value);
        added.map_err(|_| Malformed("too many headers"))?;
    }
    Ok(headers)
}

fn push(from: &mut Reader) -> Result<Push> {
    let count = from.count()?;
    if count > MAX_NAMES {
        return Err(Malformed("too many names"));
    }
    let path = (0..count).map(|_| from.text()).collect::<Result<_>>()?;
    let arguments = from.flag()?.then(|| from.rest().into());
    Ok(Push { path, arguments })
}

fn refusal(from: &mut Reader) -> Result<Refusal> {
    match from.byte()? {
        0 => Ok(Refusal::NotOwner {
            owner: from.option(|from| Ok(PodId(u128::from_be_bytes(from.array()?))))?,
            epoch: epoch(from)?,
        }),
        1 => Ok(Refusal::Failed(failure(from)?)),
        _ => Err(Malformed("a refusal of an unknown kind")),
    }
}

fn frame(kind: u8, from: &mut Reader) -> Result<Frame> {
    Ok(match kind {
        kinds::MESSAGE => Frame::Message {
            request: from.option(Reader::name)?,
            data: from.rest(),
        },
        kinds::HEAD => Frame::Head(Box::new(head(from)?)),
        kinds::RESOLVE => Frame::Resolve(from.rest()),
        kinds::RAN => Frame::Ran(Ran {
            succeeded: from.flag()?,
            no_retry: from.flag()?,
        }),
        kinds::CHUNK => Frame::Chunk(from.rest()),
        kinds::END => Frame::End,
        kinds::ABORT => Frame::Abort(body_error(from)?),
        kinds::UNREAD => Frame::Unread,
        kinds::SOCKET => Frame::Socket(message(from)?),
        kinds::FAILED => Frame::Failed(failure(from)?),
        kinds::PARTED => Frame::Parted(from.reason()?),
        kinds::REACHED => Frame::Reached(instance(from)?),
        kinds::HEARD => Frame::Heard(from.number()?),
        kinds::MOVED => Frame::Moved {
            connected: from.flag()?,
            heard: from.number()?,
        },
        _ => return Err(Malformed("a frame of an unknown kind")),
    })
}

fn head(from: &mut Reader) -> Result<Head> {
    let status = StatusCode::from_u16(u16::from_be_bytes(from.array()?));
    Ok(Head {
        status: status.map_err(|_| Malformed("not a status"))?,
        reason: from.sized()?,
        headers: headers(from)?,
        content: match from.byte()? {
            0 => Content::Full(from.rest()),
            1 => Content::Follows,
            2 => Content::Socket(Lasts::No),
            3 => Content::Socket(Lasts::Reopened),
            4 => Content::Socket(Lasts::Kept),
            _ => return Err(Malformed("content of an unknown kind")),
        },
    })
}

fn message(from: &mut Reader) -> Result<Message> {
    let utf8 = |bytes: Bytes| match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Malformed("text is not UTF-8")),
    };
    Ok(match from.byte()? {
        0 => Message::Text(utf8(from.rest())?),
        1 => Message::Binary(from.rest()),
        2 => Message::Close {
            code: u16::from_be_bytes(from.array()?),
            reason: String::from_utf8_lossy(&utf8(from.rest())?).into_owned(),
        },
        _ => return Err(Malformed("a socket's message of an unknown kind")),
    })
}

fn body_error(from: &mut Reader) -> Result<BodyError> {
    Ok(match from.byte()? {
        0 => BodyError::Incomplete(from.text()?),
        1 => BodyError::Thrown {
            message: from.text()?,
            thrown: from.sized()?.as_ref().into(),
        },
        2 => BodyError::TooLarge {
            limit: from.size()?,
        },
        _ => return Err(Malformed("a body's error of an unknown kind")),
    })
}

fn failure(from: &mut Reader) -> Result<Failure> {
    Ok(Failure {
        code: match from.byte()? {
            0 => FailureCode::Overloaded,
            1 => FailureCode::Unavailable,
            2 => FailureCode::Failed,
            3 => FailureCode::Reset,
            _ => return Err(Malformed("a failure of an unknown kind")),
        },
        retry_after_ms: from.number()?,
        message: from.text()?,
        thrown: from.option(|from| Ok(from.sized()?.as_ref().into()))?,
        is_overload: from.flag()?,
    })
}
