//! One line of the log, and the counts, for each request.

use http::{HeaderValue, Method};
use portside_crds::routes::ClassKey;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// What the log says of a client that went away before there was a response. Not a status anybody gets.
const CLIENT_GONE: u16 = 499;

/// A request, from its arrival to the end of its response. Dropping it writes the line.
pub(crate) struct Record {
    since: Instant,
    metrics: Metrics,
    logged: bool,
    method: Method,
    host: String,
    path: String,
    pub(crate) id: HeaderValue,
    pub(crate) class: Option<ClassKey>,
    pub(crate) pod: Option<String>,
    pub(crate) status: Option<u16>,
    /// Bytes of body, or of messages, that went to the client.
    pub(crate) bytes: u64,
}

impl Record {
    pub(crate) fn new(
        metrics: &Metrics,
        logged: bool,
        method: &Method,
        (host, path): (&str, &str),
        id: HeaderValue,
    ) -> Self {
        Self {
            since: Instant::now(),
            metrics: metrics.clone(),
            logged,
            method: method.clone(),
            host: host.to_owned(),
            path: path.to_owned(),
            id,
            class: None,
            pod: None,
            status: None,
            bytes: 0,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.since.elapsed();
        let status = self.status.unwrap_or(CLIENT_GONE);
        self.metrics.answered(status, duration);
        if self.logged {
            tracing::info!(
                target: "access",
                method = %self.method,
                host = self.host,
                path = self.path,
                status,
                bytes = self.bytes,
                duration_ms = duration.as_secs_f64() * 1000.0,
                class = self.class.as_ref().map(tracing::field::display),
                pod = self.pod,
                request_id = self.id.to_str().unwrap_or_default(),
                "request"
            );
        }
    }
}
