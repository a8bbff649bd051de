//! Headers that are between a gateway and its pods.

use http::header::{self, HeaderMap};
use portside_core::ids::PodId;
use portside_crds::sidecar::{OWNER_HEADER, STATE_HEADER};

/// Makes a client's headers those that a pod gets: without what the front door has answered for, so that the pod does not do
/// so again, and without what only pods say.
pub(crate) fn forwarded(headers: &mut HeaderMap) {
    headers.remove(header::EXPECT);
    headers.remove(STATE_HEADER);
    headers.remove(OWNER_HEADER);
}

/// Takes off a response's headers who owns what the request used first.
pub(crate) fn take_owner(headers: &mut HeaderMap) -> Option<PodId> {
    let owner = headers.remove(OWNER_HEADER)?;
    let id = u128::from_str_radix(owner.to_str().ok()?, 16);
    Some(PodId(id.ok()?))
}
