//! The lines of an answer that goes on.

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The longest line: a worker with the longest names, each of whose characters may have been written as `\u0001`.
const LONGEST: usize = 64 << 10;

/// Why no line comes.
pub(super) enum NoLine {
    /// It is longer than any may be.
    TooLong,
    /// The connection broke; how.
    Broken(String),
}

/// The lines of an answer.
pub(super) struct Lines {
    body: Incoming,
    rest: BytesMut,
}

impl Lines {
    pub(super) fn of(answer: Response<Incoming>) -> Self {
        Self {
            body: answer.into_body(),
            rest: BytesMut::new(),
        }
    }

    /// The next line, without its end; nothing after the last.
    ///
    /// # Errors
    ///
    /// The connection broke, or a line is too long.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, NoLine> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let mut line = self.rest.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.rest.len() > LONGEST {
                return Err(NoLine::TooLong);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().ok()),
                Some(Err(error)) => return Err(NoLine::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}
