//! A worker as it is answered here or there.

use portside_manage::Worker;
use serde::{Deserialize, Serialize};

/// A worker, with what a cluster calls it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// The name of its object in a cluster, `CLASS.ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The worker.
    #[serde(flatten)]
    pub worker: Worker,
}

impl Seen {
    /// What tells it from all others: two classes may have workers of the same id.
    pub fn key(&self) -> &str {
        self.object.as_deref().unwrap_or(&self.worker.id)
    }

    /// Whether people may mean it by this.
    pub fn is_called(&self, text: &str) -> bool {
        let by_id = match (&self.worker.class, &self.worker.object_id) {
            (Some(class), Some(id)) => text == format!("{class}#{id}"),
            _ => false,
        };
        by_id || [self.key(), &self.worker.id, &self.worker.address].contains(&text)
    }
}
