//! Static assets, as requests and an application's code reach them.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use portside_assets::Assets;
use portside_exchange::{Application, FetchError, REQUEST_ID, Request, Response};
use portside_worker::host::RequestName;

use crate::app::{App, Class};

/// Which assets an instance's code reaches, if the class has some.
pub fn bound(app: &App, class: &Class) -> Option<Arc<dyn Application>> {
    let assets = class.assets.clone()?;
    Some(Arc::new(Bound {
        app: app.weak(),
        assets,
    }))
}

/// Assets of a class, for its code.
struct Bound {
    app: Weak<App>,
    assets: Arc<Assets>,
}

impl Application for Bound {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        let app = self.app.upgrade();
        answer(app, &self.assets, request).boxed()
    }
}

/// Answers a request that is for assets.
pub async fn answer(
    app: Option<Arc<App>>,
    assets: &Assets,
    request: Request,
) -> Result<Response, FetchError> {
    let name = name_of(&request.headers);
    let answer = assets.answer(&request);
    drop(request); // nobody reads its body
    let answer = answer.await?;
    if let (Some(app), Some(name), Some(file)) = (app, name, &answer.file) {
        app.reached_asset(&name, file);
    }
    Ok(answer.response)
}

fn name_of(headers: &HeaderMap) -> Option<RequestName> {
    Some(headers.get(REQUEST_ID)?.to_str().ok()?.into())
}
