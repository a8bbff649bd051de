//! The Events of Kubernetes of classes and of what is made for them, as lines among those of workers.

use bytes::Bytes;
use futures::{Stream, StreamExt, future};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event as Watched, watcher};
use kube::{Api, Client, Resource};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::workers;
use portside_verbs::events::Told;
use serde_json::json;

/// Those that come from now on: of a class, or of all. Without the right to see them there are none, which is said.
pub fn events(
    client: Client,
    namespace: &str,
    class: Option<String>,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let api: Api<Event> = Api::namespaced(client, namespace);
    let told = watcher(api, watcher::Config::default()).default_backoff();
    let told = told.take_while(|event| {
        let is_over = matches!(event, Err(error) if is_forbidden(error));
        if is_over {
            eprintln!("the Events of Kubernetes are left out: that takes list and watch of events");
        }
        future::ready(!is_over)
    });
    told.filter_map(move |event| {
        // Those that there were are no news.
        let line = match event {
            Ok(Watched::Apply(event)) if is_about(&event.involved_object, class.as_deref()) => {
                line(event)
            }
            _ => None,
        };
        future::ready(line)
    })
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => return status.code == 403,
        watcher::Error::NoResourceVersion => return false,
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether it is a class, or what is made for one: its Deployment, and that one's pods.
fn is_about(object: &ObjectReference, class: Option<&str>) -> bool {
    let name = object.name.as_deref().unwrap_or_default();
    let kind = object.kind.as_deref();
    if kind.is_some_and(|it| it == ServerlessWorkerClass::kind(&())) {
        return class.is_none_or(|class| class == name);
    }
    let is_of = |made: &str| {
        let rest = name.strip_prefix(made);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    match class {
        Some(class) => is_of(&workers(class)),
        // By its name alone, as far as it tells.
        None => name.contains(&workers("")),
    }
}

fn line(event: Event) -> Option<Bytes> {
    let object = event.involved_object;
    let told = Told {
        reason: event.reason.unwrap_or_default(),
        severity: event.type_.unwrap_or_default(),
        about: format!("{}/{}", object.kind?, object.name?),
        message: event.message.unwrap_or_default(),
    };
    let mut line = json!(told);
    line["type"] = json!("kubernetes");
    Some(format!("{line}\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(kind: &str, name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[test]
    fn events_are_of_a_class_and_of_what_is_made_for_it() {
        let class = |name| about("ServerlessWorkerClass", name);
        let pod = |name| about("Pod", name);
        assert!(is_about(&class("chat"), None));
        assert!(is_about(&class("chat"), Some("chat")));
        assert!(!is_about(&class("chat-2"), Some("chat")));
        assert!(is_about(&pod("chat-workers-6d-x2x"), Some("chat")));
        assert!(!is_about(&pod("chat-2-workers-6d-x2x"), Some("chat")));
        assert!(is_about(&about("Deployment", "chat-workers"), None));
        assert!(!is_about(&pod("database-0"), None));
    }

    #[test]
    fn one_is_a_line_of_json() {
        let event = Event {
            involved_object: about("Pod", "chat-workers-1"),
            reason: Some("Pulled".to_owned()),
            message: Some("a\nb".to_owned()),
            ..Event::default()
        };
        let line = line(event).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["type"], "kubernetes");
        assert_eq!(json["about"], "Pod/chat-workers-1");
        assert_eq!(line.iter().filter(|it| **it == b'\n').count(), 1);
    }
}
