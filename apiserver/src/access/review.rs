//! Whether a user may do something, as the cluster's API server says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client};
use tokio::time::{Instant, timeout};

use super::User;
use crate::route::Target;
use crate::status::Refusal;
use crate::{GROUP, RESOURCE, VERSION};

/// For how long an answer is good.
const GOOD: Duration = Duration::from_secs(5);
/// How many are kept.
const KEPT: usize = 10_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    user: User,
    verb: &'static str,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

impl Asked {
    /// That this user wants to do this with that.
    #[must_use]
    pub fn new(user: User, verb: &'static str, target: &Target) -> Self {
        Self {
            user,
            verb,
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            subresource: target.subresource.clone(),
        }
    }

    fn review(&self) -> SubjectAccessReview {
        let attributes = ResourceAttributes {
            verb: Some(self.verb.to_owned()),
            group: Some(GROUP.to_owned()),
            version: Some(VERSION.to_owned()),
            resource: Some(RESOURCE.to_owned()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            subresource: self.subresource.clone(),
            ..ResourceAttributes::default()
        };
        let user = &self.user;
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }

    fn refusal(&self, why: Option<&str>) -> Refusal {
        let resource = match &self.subresource {
            Some(subresource) => format!("{RESOURCE}/{subresource}"),
            None => RESOURCE.to_owned(),
        };
        let place = match &self.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let subject = match &self.name {
            Some(name) => format!("{RESOURCE}.{GROUP} \"{name}\""),
            None => format!("{RESOURCE}.{GROUP}"),
        };
        let user = &self.user.name;
        let verb = self.verb;
        let why = why.map(|it| format!(": {it}")).unwrap_or_default();
        Refusal {
            name: self.name.clone(),
            ..Refusal::forbidden(format!(
                "{subject} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{GROUP}\" {place}{why}"
            ))
        }
    }
}

/// Asks, and remembers for some seconds.
pub struct Reviews {
    api: Api<SubjectAccessReview>,
    known: Mutex<HashMap<Asked, (Instant, bool)>>,
}

impl Reviews {
    /// Asks by this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
            known: Mutex::default(),
        }
    }

    /// Whether that may be done.
    ///
    /// # Errors
    ///
    /// It may not, or nobody says so.
    pub async fn check(&self, asked: Asked) -> Result<(), Refusal> {
        if let Some((at, allowed)) = self.lock().get(&asked).copied()
            && at.elapsed() < GOOD
        {
            return if allowed {
                Ok(())
            } else {
                Err(asked.refusal(None))
            };
        }
        let (review, parameters) = (asked.review(), kube::api::PostParams::default());
        let answered = timeout(PATIENCE, self.api.create(&parameters, &review)).await;
        let status = match answered {
            Ok(Ok(answered)) => answered.status.unwrap_or_default(),
            Ok(Err(error)) => return Err(nobody_says(&error.to_string())),
            Err(_) => return Err(nobody_says("the API server does not answer")),
        };
        let allowed = status.allowed && !status.denied.unwrap_or_default();
        let mut known = self.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(asked.clone(), (Instant::now(), allowed));
        drop(known);
        if allowed {
            return Ok(());
        }
        Err(asked.refusal(status.reason.as_deref().filter(|it| !it.is_empty())))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asked, (Instant, bool)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nobody_says(why: &str) -> Refusal {
    Refusal::unavailable(format!("nobody says whether this is allowed: {why}"))
}
