//! What tests show.

use portside_manage::{State, Usage, Worker};
use uuid::Uuid;

use crate::object::Class;

pub(crate) fn class() -> Class {
    Class {
        namespace: "ns".into(),
        name: "shop".into(),
        uid: Uuid::from_u128(1),
    }
}

pub(crate) fn worker() -> Worker {
    Worker {
        id: "0123456789abcdef0123456789abcdef".into(),
        address: "cart#ada".into(),
        script: Some("cart".into()),
        class: None,
        name: Some("ada".into()),
        object_id: None,
        state: State::Awake,
        awake_since: Some("2026-01-01T00:00:00Z".into()),
        last_active: Some("2026-01-01T00:59:00Z".into()),
        pod: Some("shop-1".into()),
        revision: Some("3".into()),
        usage: Some(Usage {
            memory_bytes: Some(3 << 20),
            run_millis: Some(1_500),
            events: 12,
        }),
        alarm: None,
        keys: Some(4),
        bytes: 2048,
    }
}
