//! What a process answers on its admin port besides probes, once it is there.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

/// The rest of an admin port that was opened before the process was ready: see [`crate::Admin::bind_early`].
#[derive(Debug, Default)]
pub struct Later(Arc<OnceLock<Router>>);

impl Later {
    /// From now on there are metrics, and the process's own routes.
    pub fn is(self, metrics: Registry, routes: Router) {
        // Nobody else has this one.
        let _ = self.0.set(routes.merge(crate::metrics(metrics)));
    }

    /// Everything that no other route answers.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&self.0))
    }
}

async fn answer(State(routes): State<Arc<OnceLock<Router>>>, request: Request) -> Response {
    match routes.get() {
        Some(routes) => routes.clone().oneshot(request).await.into_response(),
        None => {
            let text = "not yet: /readyz says what is waited for\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}
