//! Headers that are between a gateway and its pods.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};
use portside_core::ids::PodId;
use portside_crds::sidecar::{BETWEEN_GATEWAY_AND_POD, HELD_HEADER, KEPT, OWNER_HEADER, REOPENED};
use url::Url;

use crate::held::Way;

/// What the front door says, too, of the host that the application sees.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The host that a request is routed by: the one that the connection asked for, in the spelling of the URL standard. `seen`
/// is the application's, which may be what a trusted proxy says that its own client asked for. That proxy is trusted with
/// what an application believes, not with the choice of the application: networks that are trusted have tenants in them.
pub(crate) fn asked_host<'h>(headers: &HeaderMap, seen: &'h str) -> Option<Cow<'h, str>> {
    let asked = headers.get(header::HOST);
    if asked == headers.get(FORWARDED_HOST) {
        return Some(Cow::Borrowed(seen));
    }
    let url = Url::parse(&format!("http://{}", asked?.to_str().ok()?)).ok()?;
    Some(Cow::Owned(url.host_str()?.to_owned()))
}

/// Makes a client's headers those that a pod gets: without what the front door has answered for, so that the pod does not do
/// so again, and without what only pods and gateways say.
pub(crate) fn forwarded(headers: &mut HeaderMap) {
    headers.remove(header::EXPECT);
    for ours in BETWEEN_GATEWAY_AND_POD {
        headers.remove(ours);
    }
}

/// Takes off a response's headers who owns what the request used first.
pub(crate) fn take_owner(headers: &mut HeaderMap) -> Option<PodId> {
    let owner = headers.remove(OWNER_HEADER)?;
    let id = u128::from_str_radix(owner.to_str().ok()?, 16);
    Some(PodId(id.ok()?))
}

/// Takes off a response's headers how its WebSocket is opened again.
pub(crate) fn take_way(headers: &mut HeaderMap) -> Option<Way> {
    match headers.remove(HELD_HEADER)?.as_bytes() {
        way if way == REOPENED.as_bytes() => Some(Way::Reopened),
        way if way == KEPT.as_bytes() => Some(Way::Kept),
        _ => None,
    }
}
