//! `caches`: what code puts there, and finds.

use std::sync::Arc;
use std::time::SystemTime;

use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use portside_core::caching::{Headers, Wanted};
use portside_core::limits::MAX_CACHED_BYTES;
use portside_worker::caches::{Caches, Response};
use portside_worker::engine::Shared;
use serde::{Deserialize, Serialize};

fn caches(state: &OpState) -> Arc<Caches> {
    state.borrow::<Shared>().borrow().caches().clone()
}

/// How many bytes a response may have at most.
#[op2(fast)]
#[number]
pub(crate) fn op_cache_most() -> u64 {
    MAX_CACHED_BYTES as u64
}

/// Headers of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    none_match: Option<String>,
    modified_since: Option<String>,
    range: Option<String>,
}

/// A response that was found.
#[derive(Serialize)]
pub(crate) struct Hit {
    status: u16,
    reason: String,
    headers: Headers,
    body: ToJsBuffer,
}

/// The response to a request for this URL.
#[op2]
#[serde]
pub(crate) fn op_cache_match(
    state: &OpState,
    #[string] cache: &str,
    #[string] url: &str,
    #[serde] asked: Asked,
) -> Option<Hit> {
    let wanted = Wanted {
        none_match: asked.none_match.as_deref(),
        modified_since: asked.modified_since.as_deref(),
        range: asked.range.as_deref(),
    };
    let found = caches(state).find(cache, url, &wanted, SystemTime::now())?;
    Some(Hit {
        status: found.status,
        reason: found.reason,
        headers: found.headers,
        body: found.body.to_vec().into(),
    })
}

/// Keeps a response, if it may be kept.
#[op2]
pub(crate) fn op_cache_put(
    state: &OpState,
    #[string] cache: &str,
    #[string] url: &str,
    #[smi] status: u16,
    #[string] reason: String,
    #[serde] headers: Headers,
    #[buffer] body: JsBuffer,
) {
    let response = Response {
        status,
        reason,
        headers,
        body: body.to_vec().into(),
    };
    caches(state).put(cache, url, response, SystemTime::now());
}

/// Forgets the response to this URL. Returns whether there was one.
#[op2(fast)]
pub(crate) fn op_cache_delete(state: &OpState, #[string] cache: &str, #[string] url: &str) -> bool {
    caches(state).delete(cache, url, SystemTime::now())
}
