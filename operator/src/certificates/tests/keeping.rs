//! The Secrets and the registration in an API server that is played.

use std::sync::{Arc, Mutex};

use portside_crds::names::API_SERVICE;
use serde_json::{Value, json};

use super::super::{EVERY, Keeper, Trust, Trusted};
use crate::api::is_conflict;
use crate::certificates::Failure;
use crate::class::Context;
use crate::class::mock::store::Store;
use crate::class::mock::{Asked, Log, client, context, nothing};
use crate::registration;

const AUTHORITIES: &str = "/api/v1/namespaces/portside-system/secrets/portside-apiserver-ca";
const LEAF: &str = "/api/v1/namespaces/portside-system/secrets/portside-apiserver-tls";

fn registration_path() -> String {
    format!("/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}")
}

/// As the chart makes it.
fn registered(service: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": API_SERVICE, "labels": {"of": "the chart"}, "uid": "1"},
        "spec": {
            "group": "runtime.portside.dev", "version": "v1alpha1",
            "groupPriorityMinimum": 1000, "versionPriority": 10,
            "service": {"name": service, "namespace": "portside-system", "port": 443},
        },
    })
}

/// An operator whose API server has this, and what that is asked.
fn operator(store: &Store) -> (Arc<Context>, Log) {
    let store = store.clone();
    let (client, log) = client(move |asked| store.answer(asked));
    let mut context = context(client, nothing());
    Arc::get_mut(&mut context).unwrap().trusted = Trusted::new(true);
    (context, log)
}

fn keeper(context: &Context) -> Keeper<'_> {
    Keeper::new(context, "portside-apiserver")
}

fn is_write(asked: &Asked) -> bool {
    asked.method != "GET"
}

#[tokio::test]
async fn the_first_look_makes_all_of_it_and_the_next_one_nothing() {
    let store = Store::default();
    store.put(&registration_path(), registered("portside-apiserver"));
    let (operator, log) = operator(&store);
    assert_eq!(operator.trusted.get(), Trust::Unread);
    let mut keeper = keeper(&operator);
    keeper.look().await.unwrap();
    let all = store.secret(AUTHORITIES).unwrap();
    let leaf = store.secret(LEAF).unwrap();
    assert_eq!(all["ca.crt"], leaf["ca.crt"]);
    assert!(!leaf.contains_key("ca.key"), "the leaf's Secret is mounted");
    assert_eq!(
        operator.trusted.get(),
        Trust::In(all["ca.crt"].as_str().into())
    );
    let live = store.get(&registration_path()).unwrap();
    let bundle = k8s_openapi::ByteString(all["ca.crt"].clone().into_bytes());
    assert_eq!(live["spec"]["caBundle"], json!(bundle));
    assert_eq!(live["spec"]["versionPriority"], 10);

    let writes = log.find(is_write).len();
    keeper.look().await.unwrap();
    assert_eq!(log.find(is_write).len(), writes);
}

#[tokio::test]
async fn of_two_operators_that_begin_at_once_one_makes_the_authority() {
    let store = Store::default();
    let (first, _) = operator(&store);
    // It has looked before the first one has written.
    let stale = Arc::new(Mutex::new(vec![AUTHORITIES, LEAF]));
    let shared = store.clone();
    let (late, _) = client(move |asked| {
        let mut stale = stale.lock().unwrap();
        let before = stale.len();
        stale.retain(|path| *path != asked.path);
        match stale.len() < before {
            true => Store::default().answer(asked),
            false => shared.answer(asked),
        }
    });
    let mut second = context(late, nothing());
    Arc::get_mut(&mut second).unwrap().trusted = Trusted::new(true);
    keeper(&first).look().await.unwrap();
    let made = store.secret(AUTHORITIES);
    let mut keeper = keeper(&second);
    let error = keeper.look().await.unwrap_err();
    assert!(
        matches!(&error, Failure::Api(error) if is_conflict(error)),
        "{error}"
    );
    assert_eq!(
        second.trusted.get(),
        Trust::Unread,
        "nobody is told of a second"
    );
    keeper.look().await.unwrap();
    assert_eq!(store.secret(AUTHORITIES), made);
    assert_eq!(first.trusted.get(), second.trusted.get());
}

#[tokio::test]
async fn a_certificate_that_somebody_else_has_renewed_is_not_written_over() {
    let store = Store::default();
    let (operator, _) = operator(&store);
    let mut keeper = keeper(&operator);
    keeper.look().await.unwrap();
    let leaf = store.get(LEAF).unwrap();
    store.put(
        LEAF,
        json!({"metadata": {"name": "portside-apiserver-tls"}}),
    );
    let found = keeper.secrets.leaf().await.unwrap();
    store.put(LEAF, leaf.clone());
    let all = keeper.authorities(None).await.unwrap();
    let error = keeper.leaf(found, &all).await.unwrap_err();
    assert!(
        matches!(&error, Failure::Api(error) if is_conflict(error)),
        "{error}"
    );
    assert_eq!(store.get(LEAF).unwrap()["data"], leaf["data"]);
}

#[tokio::test]
async fn foreign_contents_are_replaced_with_a_warning() {
    let store = Store::default();
    store.put(
        AUTHORITIES,
        json!({"metadata": {"name": "portside-apiserver-ca"}, "data": {"password": "c2VjcmV0"}}),
    );
    let (operator, log) = operator(&store);
    keeper(&operator).look().await.unwrap();
    let all = store.secret(AUTHORITIES).unwrap();
    assert!(all.contains_key("ca.key") && !all.contains_key("password"));
    let events = log.find(|asked| asked.method == "POST" && asked.path.ends_with("/events"));
    assert_eq!(events.len(), 1);
    let note = events[0].body["note"].as_str().unwrap();
    assert!(
        note.contains("ca.crt is missing") && note.contains("portside-apiserver-ca"),
        "{note}"
    );
}

#[tokio::test]
async fn another_installations_registration_stays_as_it_is() {
    let store = Store::default();
    let others = registered("other-apiserver");
    store.put(&registration_path(), others.clone());
    let (operator, _) = operator(&store);
    let mut keeper = keeper(&operator);
    keeper.look().await.unwrap();
    keeper.look().await.unwrap();
    let live = store.get(&registration_path()).unwrap();
    assert_eq!(live["spec"], others["spec"]);
}

fn set_available(store: &Store, status: &str) {
    let mut live = store.get(&registration_path()).unwrap();
    live["status"] = json!({"conditions": [
        {"type": "Available", "status": status, "message": "no endpoints"},
    ]});
    store.put(&registration_path(), live);
}

fn set_ready(store: &Store, ready: bool) {
    let slice = json!({
        "metadata": {"name": "a"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    });
    store.put(
        "/apis/discovery.k8s.io/v1/namespaces/portside-system/endpointslices",
        json!({"metadata": {}, "items": [slice]}),
    );
}

/// Looks as often as the operator does.
async fn for_a_while(keeper: &mut Keeper<'_>, seconds: u64) {
    for _ in 0..seconds / EVERY.as_secs() {
        keeper.look().await.unwrap();
        tokio::time::advance(EVERY).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_server_is_not_registered_until_it_is_back() {
    let store = Store::default();
    store.put(&registration_path(), registered("portside-apiserver"));
    set_ready(&store, false);
    let (first, _) = operator(&store);
    let mut keeper_before = keeper(&first);
    for_a_while(&mut keeper_before, 30).await;
    set_available(&store, "True");
    for_a_while(&mut keeper_before, 300).await;
    set_available(&store, "False");
    for_a_while(&mut keeper_before, 45).await;
    assert!(
        store.get(&registration_path()).is_some(),
        "a moment is nothing"
    );
    for_a_while(&mut keeper_before, 60).await;
    assert!(store.get(&registration_path()).is_none());

    // Another operator leads.
    let (second, _) = operator(&store);
    let mut keeper = keeper(&second);
    for_a_while(&mut keeper, 60).await;
    assert!(store.get(&registration_path()).is_none());
    set_ready(&store, true);
    for_a_while(&mut keeper, 30).await;
    let live = store.get(&registration_path()).unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"of": "the chart"}));
    assert!(live["spec"]["caBundle"].is_string());
    assert_eq!(live["spec"]["service"]["name"], "portside-apiserver");

    // When it is deleted by somebody else it stays so.
    store.remove(&registration_path());
    for_a_while(&mut keeper, 120).await;
    assert!(store.get(&registration_path()).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_made_anew_meanwhile_counts() {
    let store = Store::default();
    store.put(&registration_path(), registered("portside-apiserver"));
    set_ready(&store, false);
    let (operator, _) = operator(&store);
    let mut keeper = keeper(&operator);
    for_a_while(&mut keeper, 120).await;
    assert!(store.get(&registration_path()).is_none());
    set_ready(&store, true);
    store.put(&registration_path(), registered("portside-apiserver"));
    for_a_while(&mut keeper, 30).await;
    store.remove(&registration_path());
    for_a_while(&mut keeper, 120).await;
    assert!(store.get(&registration_path()).is_none());
}

/// After an uninstall, as often as that is tried.
#[tokio::test]
async fn without_an_operator_nothing_is_left_but_what_is_others() {
    for (service, stays) in [("portside-apiserver", false), ("other-apiserver", true)] {
        let store = Store::default();
        store.put(&registration_path(), registered(service));
        let (operator, _) = operator(&store);
        keeper(&operator).look().await.unwrap();
        for _ in 0..2 {
            registration::remove(&operator.client, "portside-system", "portside-apiserver")
                .await
                .unwrap();
            assert_eq!(store.get(&registration_path()).is_some(), stays);
            assert!(store.get(AUTHORITIES).is_none() && store.get(LEAF).is_none());
        }
    }
}
