//! What the front door of `portside dev` sends requests to: the application, and before it what is done by hand.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_exchange::{Application, FetchError, Request, Response};
use portside_sidecar::App;
use url::Url;

use super::by_hand;
use super::requests::Requests;

/// The application, with a line for each request if those are wanted.
pub struct Door {
    app: Arc<App>,
    requests: Option<Arc<Requests>>,
}

impl Door {
    /// Before this application.
    pub fn new(app: Arc<App>, requests: Option<Arc<Requests>>) -> Self {
        Self { app, requests }
    }
}

impl Application for Door {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        async move {
            let url = Url::parse(&request.url).ok();
            let path = url.as_ref().map_or("", Url::path);
            let asked = (self.requests.as_ref()).map(|requests| requests.asked(&request, path));
            let by_hand = match &url {
                Some(url) => by_hand::answer(&self.app, url, &request.headers).await,
                None => None,
            };
            let answer = match by_hand {
                Some(response) => Ok(response),
                None => self.app.fetch(request).await,
            };
            if let Some(asked) = asked {
                asked.answered(&answer);
            }
            answer
        }
        .boxed()
    }
}
