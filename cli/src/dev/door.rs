//! What the front door of `portside dev` sends requests to: the application, and before it what is done by hand.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_crds::sidecar::{BETWEEN_GATEWAY_AND_POD, STATE_HEADER};
use portside_exchange::{Application, FetchError, Request, Response};
use portside_sidecar::App;
use url::Url;

use super::by_hand;
use super::requests::Requests;

/// The application, with a line for each request if those are wanted.
pub struct Door {
    application: Arc<dyn Application>,
    app: Arc<App>,
    requests: Option<Arc<Requests>>,
}

impl Door {
    /// Before this application, with no gateway before it.
    pub fn new(app: Arc<App>, requests: Option<Arc<Requests>>) -> Self {
        Self::before(Arc::new(OfClients(app.clone())), app, requests)
    }

    /// Before what decides for itself whether it sends requests to the application.
    pub fn before(
        application: Arc<dyn Application>,
        app: Arc<App>,
        requests: Option<Arc<Requests>>,
    ) -> Self {
        Self {
            application,
            app,
            requests,
        }
    }
}

/// An application whose requests come from clients, who cannot say what only gateways say.
struct OfClients(Arc<App>);

impl Application for OfClients {
    fn fetch(&self, mut request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        for header in BETWEEN_GATEWAY_AND_POD {
            request.headers.remove(header);
        }
        self.0.fetch(request)
    }
}

impl Application for Door {
    fn fetch(&self, mut request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        async move {
            let url = Url::parse(&request.url).ok();
            let path = url.as_ref().map_or("", Url::path);
            let asked = (self.requests.as_ref()).map(|requests| requests.asked(&request, path));
            let by_hand = match &url {
                Some(url) => by_hand::answer(&self.app, url, &mut request).await,
                None => None,
            };
            let answer = match by_hand {
                Some(response) => Ok(response),
                None => self.application.fetch(request).await,
            };
            match asked {
                // Another pod is to answer it, and says so.
                Some(asked) if is_not_run(&answer) => asked.forget(),
                Some(asked) => asked.answered(&answer),
                None => {}
            }
            answer
        }
        .boxed()
    }
}

/// Whether a pod has answered that it does not run the request.
fn is_not_run(answer: &Result<Response, FetchError>) -> bool {
    (answer.as_ref()).is_ok_and(|response| response.headers.contains_key(STATE_HEADER))
}
