//! Whole looks at a class, with an API server that does not do as asked.

use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::{Resource, api::PartialObjectMeta};
use serde_json::{Value, json};

use super::mock::{as_asked, client, context, failure, nothing};
use super::testkit::{settings, valid};
use super::*;
use crate::caches::Indexed;
use crate::certificates::Trust;
use crate::class::fetch::Live;

const SPEC: &str = "code: { inline: { server.js: x } }";

fn class(spec: &str) -> Arc<Class> {
    Arc::new(kube::core::DeserializeGuard(Ok(testkit::class(spec))))
}

/// A store with one object.
fn holding<K>(object: K) -> Indexed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut writer = Writer::new(());
    writer.apply_watcher_event(&Event::Apply(object));
    writer.as_reader().into()
}

/// Looks at a class that cannot be looked after, and decides about the next try.
async fn fail(class: &Arc<Class>, context: &Arc<Context>) -> Error {
    let result = reconcile(Arc::clone(class), Arc::clone(context)).await;
    let error = result.expect_err("it worked");
    on_error(Arc::clone(class), &error, Arc::clone(context));
    error
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["status"]["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == kind).unwrap()
}

#[tokio::test]
async fn an_object_that_cannot_be_written_twice_is_told_once() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let (client, log) = client(move |asked| {
        if !asked.writes("deployments") {
            return as_asked(asked);
        }
        let port = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        failure(500, &format!("failed calling webhook from port {port}"))
    });
    let context = context(client, nothing());
    let class = class(SPEC);
    assert_eq!(fail(&class, &context).await.kind(), "server");
    assert!(log.find(mock::Asked::writes_status).is_empty());
    for _ in 0..3 {
        assert_eq!(fail(&class, &context).await.kind(), "server");
    }
    let statuses = log.find(mock::Asked::writes_status);
    assert_eq!(statuses.len(), 1);
    let told = "Deployment chat-workers: failed calling webhook from port 1; it is tried again";
    for (kind, holds) in [("Ready", "False"), ("Reconciling", "True")] {
        let condition = condition(&statuses[0].body, kind);
        assert_eq!(
            [
                &condition["status"],
                &condition["reason"],
                &condition["message"]
            ],
            [holds, "ApplyFailed", told]
        );
    }
}

#[tokio::test]
async fn code_that_cannot_be_read_is_told() {
    let (client, log) = client(|asked| match asked.path.contains("/configmaps/") {
        true => failure(500, "etcdserver: request timed out"),
        false => as_asked(asked),
    });
    let mut caches = nothing();
    let code = json!({"metadata": {"namespace": "team-a", "name": "chat-code"}});
    let code: PartialObjectMeta<_> = serde_json::from_value(code).unwrap();
    caches.config_maps = holding(code);
    let context = context(client, caches);
    let class = class("code: { configMap: { name: chat-code } }");
    fail(&class, &context).await;
    assert!(log.find(mock::Asked::writes_status).is_empty());
    fail(&class, &context).await;
    let statuses = log.find(mock::Asked::writes_status);
    assert_eq!(statuses.len(), 1);
    let ready = condition(&statuses[0].body, "Ready");
    assert_eq!(
        ready["message"],
        "the API server: etcdserver: request timed out; it is tried again"
    );
    assert_eq!(statuses[0].body["status"]["observedGeneration"], 3);
}

/// What the code's ConfigMap of pods is.
fn mounted(deployment: &Value) -> &Value {
    let spec = &deployment["spec"]["template"]["spec"];
    let volumes = spec["volumes"].as_array().unwrap();
    let app = volumes.iter().find(|volume| volume["name"] == "app");
    &app.unwrap()["configMap"]["name"]
}

#[tokio::test]
async fn pods_do_not_get_code_that_was_refused() {
    let before = build::build(valid(SPEC, Live::default()), &settings());
    let deployment: Deployment = before.objects.deployment.unwrap();
    let mounts = mounted(&json!(deployment)).clone();
    let mut caches = nothing();
    caches.deployments = holding(deployment);
    let (operator, log) = with_code_refused(caches);
    let changed = "code: { inline: { server.js: y } }\nscaling: { replicas: 3 }";
    let error = fail(&class(changed), &operator).await;
    assert!(error.to_string().contains("exceeded quota"), "{error}");
    // What else the class asks for is done all the same.
    let written = log.find(|asked| asked.writes("deployments"));
    assert_eq!(written.len(), 1);
    assert_eq!(mounted(&written[0].body), &mounts);
    assert_eq!(written[0].body["spec"]["replicas"], 3);
    let statuses = log.find(mock::Asked::writes_status);
    assert_eq!(
        condition(&statuses[0].body, "Ready")["reason"],
        "ApplyFailed"
    );
    // For one that has no pods yet there is nothing to keep.
    let (operator, log) = with_code_refused(nothing());
    fail(&class(changed), &operator).await;
    assert!(log.find(|asked| asked.writes("deployments")).is_empty());
}

fn with_code_refused(caches: Caches) -> (Arc<Context>, mock::Log) {
    let (client, log) = client(|asked| match asked.writes("configmaps") {
        true => failure(403, "configmaps is forbidden: exceeded quota: q"),
        false => as_asked(asked),
    });
    (context(client, caches), log)
}

#[tokio::test]
async fn a_class_that_cannot_be_read_can_be_deleted() {
    let (client, log) = client(as_asked);
    let context = context(client, nothing());
    let class: Class = serde_json::from_value(json!({
        "metadata": {
            "namespace": "team-a", "name": "chat", "resourceVersion": "7",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["example.com/other", portside_crds::names::FINALIZER],
        },
        "spec": { "code": 1 },
    }))
    .unwrap();
    assert!(class.0.is_err());
    reconcile(Arc::new(class), Arc::clone(&context))
        .await
        .unwrap();
    let written = log.find(|asked| asked.writes("serverlessworkerclasses"));
    let finalizers = &written[0].body["metadata"]["finalizers"];
    assert_eq!(finalizers, &json!(["example.com/other"]));
    let told = log.find(|asked| asked.path.ends_with("/events"));
    let note = told[0].body["note"].as_str().unwrap();
    assert!(note.starts_with("the class cannot be read: "), "{note}");
}

fn going() -> Arc<Class> {
    let mut class = testkit::class(&format!("{SPEC}\nstorage: {{ deletionPolicy: Delete }}"));
    class.metadata.deletion_timestamp = Some(testkit::yaml("'2026-01-01T00:00:00Z'"));
    class.metadata.finalizers = Some(vec![portside_crds::names::FINALIZER.to_owned()]);
    Arc::new(kube::core::DeserializeGuard(Ok(class)))
}

/// An API server that takes changes of classes only, and has the namespace.
fn without_rights(namespace: Value) -> (Client, mock::Log) {
    client(move |asked| match &*asked.path {
        "/api/v1/namespaces/team-a" => (200, json!({"metadata": namespace})),
        path if path.contains("/serverlessworkerclasses/") => as_asked(asked),
        _ => failure(403, "User \"operator\" cannot do that"),
    })
}

/// The RoleBinding that gives rights in a namespace goes with it, and perhaps before the classes.
#[tokio::test]
async fn a_namespace_that_goes_with_the_rights_in_it_takes_its_classes_along() {
    let released = |log: &mock::Log| {
        let written = log.find(|asked| asked.writes("serverlessworkerclasses"));
        written
            .last()
            .map(|one| one.body["metadata"]["finalizers"].clone())
    };
    for is_seen in [true, false] {
        let stays = json!({"name": "team-a"});
        let goes = json!({"name": "team-a", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        for (namespace, expected) in [(stays, None), (goes, Some(json!([])))] {
            let (client, log) = without_rights(namespace);
            let caches = nothing();
            if !is_seen {
                caches.unseen.add("team-a", "Pod");
            }
            let result = reconcile(going(), context(client, caches)).await;
            assert_eq!(result.is_ok(), expected.is_some());
            assert_eq!(released(&log), expected, "{is_seen}");
        }
    }
}

#[tokio::test]
async fn a_class_among_what_may_not_be_watched_is_left_alone_and_told() {
    let (client, log) = client(as_asked);
    let caches = nothing();
    caches.unseen.add("team-a", "Deployment");
    let error = fail(&class(SPEC), &context(client, caches)).await;
    assert_eq!(error.kind(), "forbidden");
    let written = log.find(|asked| asked.method != "GET");
    let is_told = |asked: &mock::Asked| asked.writes_status() || asked.path.ends_with("/events");
    assert!(written.iter().all(is_told), "{written:?}");
    let ready = condition(&written[0].body, "Ready");
    assert_eq!(ready["reason"], "ApplyFailed");
}

/// Code is read to be written, and not kept.
#[tokio::test]
async fn code_that_pods_have_is_not_read_again() {
    let source = json!({
        "metadata": {"namespace": "team-a", "name": "src", "resourceVersion": "5"},
        "data": {"server.js": "x"},
    });
    let answer = source.clone();
    let (client, log) = client(move |asked| match &*asked.path {
        "/api/v1/namespaces/team-a/configmaps/src" => (200, answer.clone()),
        _ => as_asked(asked),
    });
    let spec = "code: { configMap: { name: src } }";
    let map = serde_json::from_value(source.clone()).unwrap();
    let class = testkit::class(spec);
    let fetched = testkit::fetched(class.clone(), Some(map), Live::default());
    let built = build::build(validate::validate(fetched), &settings());
    let Some(build::CodeMap::Whole(copy)) = built.objects.code else {
        panic!("no code");
    };
    let mut writer = Writer::new(());
    for object in [source, json!(copy)] {
        let meta: PartialObjectMeta<_> = serde_json::from_value(object).unwrap();
        writer.apply_watcher_event(&Event::Apply(meta));
    }
    let mut caches = nothing();
    caches.config_maps = writer.as_reader().into();
    let context = context(client, caches);
    let look = async |class: &ServerlessWorkerClass| {
        let class = Arc::new(kube::core::DeserializeGuard(Ok(class.clone())));
        reconcile(class, Arc::clone(&context)).await.unwrap();
        log.find(|asked| asked.method == "GET" && asked.path.ends_with("/configmaps/src"))
            .len()
    };
    assert_eq!(look(&class).await, 1);
    assert_eq!(look(&class).await, 1);
    let mut other = class.clone();
    other.spec.concurrency.input_gate = true;
    assert_eq!(look(&other).await, 2, "its copy has to be written");
    assert_eq!(log.find(|asked| asked.writes("configmaps")).len(), 1);
}

/// What there is of one class is found without looking at that of two thousand others.
#[tokio::test]
async fn one_class_of_many_is_fetched_in_no_time() {
    let (client, _) = client(as_asked);
    let mut caches = nothing();
    let (mut classes, mut pods) = (Writer::new(()), Writer::new(()));
    for number in 0..2000 {
        let mut class = testkit::class(&format!("code: {{}}\nroutes: [{{ host: h{number}.com }}]"));
        let name = format!("chat-{number}");
        class.metadata.name = Some(name.clone());
        let class = kube::core::DeserializeGuard(Ok(class));
        classes.apply_watcher_event(&Event::Apply(class));
        for pod in ["a", "b"] {
            let mut pod = (*testkit::pod(&format!("{name}-{pod}"), "new", "{}")).clone();
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert(portside_crds::names::CLASS_LABEL.to_owned(), name.clone());
            pods.apply_watcher_event(&Event::Apply(pod));
        }
    }
    caches.classes = classes.as_reader().into();
    caches.pods = pods.as_reader().into();
    let context = context(client, caches);
    let fetch = async |name: &str| {
        let mut class = testkit::class("code: {}\nroutes: [{ host: h7.com }]");
        class.metadata.name = Some(name.to_owned());
        fetch::fetch(&context, Arc::new(class)).await.unwrap()
    };
    assert_eq!(fetch("chat-7").await.live.pods.len(), 2);
    // The machine may be busy with something else.
    let mut fastest = Duration::MAX;
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(fetch("chat-7").await.conflicts, []);
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(2), "{fastest:?}");
}

/// What another operator has written may be all that is left of it. Where it writes again there are two.
#[tokio::test(start_paused = true)]
async fn a_class_that_another_operator_looks_after_is_left_to_it_for_a_while() {
    let (client, log) = client(as_asked);
    let mut of_other = settings();
    of_other.instance = "other/portside-operator".to_owned();
    let built = build::build(valid(SPEC, Live::default()), &of_other);
    let mut caches = nothing();
    caches.deployments = holding(built.objects.deployment.unwrap());
    let context = context(client, caches);
    let look = async || {
        reconcile(class(SPEC), Arc::clone(&context)).await.unwrap();
        let is_event = |asked: &mock::Asked| asked.path.contains("/events");
        let writes = |asked: &mock::Asked| asked.method == "PATCH" && !is_event(asked);
        (log.find(writes).len(), log.find(is_event).len())
    };
    let (written, events) = look().await;
    assert!(written > 0, "it is taken over");
    assert_eq!(look().await, (written, events + 1));
    assert_eq!(look().await, (written, events + 1));
    tokio::time::sleep(Duration::from_secs(601)).await;
    let (again, told) = look().await;
    assert!(again > written, "the other one may be gone");
    assert_eq!(look().await, (again, told + 1));
}

/// Whom pods believe changes, unlike code.
#[tokio::test]
async fn pods_are_told_of_another_authority() {
    let (client, log) = client(as_asked);
    let mut operator = context(client, nothing());
    let trusted = crate::certificates::Trusted::default();
    Arc::get_mut(&mut operator).unwrap().trusted = trusted.clone();
    let told = || -> Vec<Value> {
        let writes = log.find(|asked| asked.path.ends_with("/configmaps/chat-runtime"));
        let writes = writes.iter().filter(|one| one.method == "PATCH");
        writes
            .map(|one| one.body["data"]["ca.crt"].clone())
            .collect()
    };
    for (authorities, expected) in [
        (None, &[][..]),
        (Some("one"), &["one"]),
        (Some("two"), &["one", "two"]),
    ] {
        if let Some(authorities) = authorities {
            trusted.set(Trust::In(authorities.into()));
        }
        reconcile(class(SPEC), Arc::clone(&operator)).await.unwrap();
        assert_eq!(told(), expected);
    }
}
