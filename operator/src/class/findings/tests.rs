//! The status contract, case by case.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portside_crds::conditions;
use portside_crds::routes::{ClassKey, Conflict, Taken};

use super::*;
use crate::class::owned::Kind;
use crate::class::testkit::{class, deployment, pod, yaml};

const SPEC: &str = "code: { inline: { server.js: x } }";
const READY: &str = "conditions: [{ type: Ready, status: 'True' }]";

/// One row: what is seen, on top of a class that has nothing yet.
struct Case {
    class: ServerlessWorkerClass,
    rejection: Option<Rejection>,
    refusals: Vec<Refusal>,
    deployment: Option<Arc<Deployment>>,
    pods: Vec<Arc<Pod>>,
    routing: Routing,
}

impl Case {
    fn new(spec: &str) -> Self {
        let mut case = Self {
            class: class(&format!("{SPEC}\n{spec}")),
            rejection: None,
            refusals: vec![],
            deployment: None,
            pods: vec![],
            routing: Routing::default(),
        };
        case.routing.gateway_name = "portside-system/portside-gateway".to_owned();
        case.routing.routes = case.class.spec.routes.clone();
        case.routing.has_http_routes = Some(false);
        case
    }

    /// With a Deployment of inputs `new`: how many are desired, there, of the newest revision, and ready.
    fn rollout(mut self, desired: i32, replicas: i32, updated: i32, ready: i32) -> Self {
        self.class.spec.scaling.replicas = desired;
        self.deployment = Some(deployment(&format!(
            "metadata: {{ name: chat-workers, generation: 2, labels: {{ portside.dev/class: chat }}, \
             annotations: {{ portside.dev/inputs: new }} }}\n\
             spec: {{ replicas: {desired}, selector: {{}}, template: {{}} }}\n\
             status: {{ observedGeneration: 2, replicas: {replicas}, updatedReplicas: {updated}, readyReplicas: {ready} }}"
        )));
        self
    }

    fn condition(mut self, condition: &str) -> Self {
        let mut changed = (*self.deployment.unwrap()).clone();
        changed.status.as_mut().unwrap().conditions = Some(vec![yaml(condition)]);
        self.deployment = Some(Arc::new(changed));
        self
    }

    fn pod(mut self, inputs: &str, status: &str) -> Self {
        let name = format!("chat-{}", self.pods.len());
        self.pods.push(pod(&name, inputs, status));
        self
    }

    /// A pod of the newest revision whose sidecar is in this state, or was before.
    fn sidecar(self, state: &str) -> Self {
        let status = format!(
            "containerStatuses: [{{ name: sidecar, image: 'side:1', imageID: '', ready: false, restartCount: 1, {state} }}]"
        );
        self.pod("new", &status)
    }

    fn said(self, reason: &str, message: &str) -> Self {
        let log = format!(r#"{{"reason":"{reason}","message":"{message}"}}"#);
        self.sidecar(&format!(
            "state: {{ waiting: {{ reason: CrashLoopBackOff }} }}, \
             lastState: {{ terminated: {{ exitCode: 1, message: '{log}' }} }}"
        ))
    }

    /// This generation was ready before.
    fn was_ready(mut self) -> Self {
        let ready = [Finding::yes(ConditionType::Ready, Reason::Succeeded, "")];
        self.class.status = Some(portside_crds::ServerlessWorkerClassStatus {
            observed_generation: self.class.metadata.generation,
            conditions: conditions::merge(&[], &ready, 3, &time()),
            ..Default::default()
        });
        self
    }

    fn gateway(mut self) -> Self {
        self.routing.gateway = vec![Arc::new(yaml(
            "addressType: IPv4\nendpoints: [{ addresses: [10.0.0.1] }]",
        ))];
        self
    }

    fn told(&self) -> String {
        let found = findings(&Seen {
            class: &self.class,
            rejection: self.rejection.as_ref(),
            refusals: &self.refusals,
            deployment: self.deployment.as_deref(),
            pods: self.pods.iter().map(|pod| &**pod).collect(),
            routing: &self.routing,
        });
        let mut told = String::new();
        for one in conditions::merge(&[], &found, 3, &time()) {
            writeln!(
                told,
                "{}={} {}: {}",
                one.type_, one.status, one.reason, one.message
            )
            .unwrap();
        }
        told
    }
}

fn time() -> Time {
    Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
}

fn told(cases: &[(&str, Case)]) -> String {
    let mut all = String::new();
    for (title, case) in cases {
        writeln!(all, "# {title}\n{}", case.told()).unwrap();
    }
    all
}

#[test]
fn work_that_goes_on() {
    let cases = [
        ("just made", Case::new("").rollout(1, 0, 0, 0)),
        ("nothing made yet", Case::new("")),
        (
            "starting",
            Case::new("").rollout(1, 1, 1, 0).pod("new", "{}"),
        ),
        (
            "serving",
            Case::new("").rollout(2, 2, 2, 2).pod("new", READY),
        ),
        (
            "replacing",
            Case::new("")
                .rollout(1, 2, 1, 1)
                .pod("old", READY)
                .pod("new", "{}"),
        ),
        (
            "lost one of two after it was ready",
            Case::new("")
                .was_ready()
                .rollout(2, 2, 2, 1)
                .pod("new", READY),
        ),
        (
            "lost the only one after it was ready",
            Case::new("")
                .was_ready()
                .rollout(1, 1, 1, 0)
                .pod("new", "{}"),
        ),
        ("still none", {
            let mut lost = Case::new("").was_ready().rollout(1, 1, 1, 0);
            let ready = &mut lost.class.status.as_mut().unwrap().conditions[0];
            ready.status = "False".to_owned();
            ready.reason = "NoPodReady".to_owned();
            lost
        }),
        (
            "scaled to nothing",
            Case::new("scaling: { replicas: 0 }").rollout(0, 0, 0, 0),
        ),
        (
            "being scaled to nothing",
            Case::new("scaling: { replicas: 0 }")
                .rollout(0, 1, 1, 1)
                .pod("new", READY),
        ),
        ("suspended", Case::new("suspend: true").rollout(0, 0, 0, 0)),
        (
            "being suspended",
            Case::new("suspend: true")
                .rollout(0, 1, 1, 1)
                .pod("new", READY),
        ),
        ("suspended from the start", Case::new("suspend: true")),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn revisions_that_cannot_work() {
    let invalid = |case: Case| case.said("CodeInvalid", "server.js:3:5: expected an expression");
    let missing = || Rejection {
        reason: Reason::CodeMissing,
        message: "ConfigMap chat-src does not exist".to_owned(),
    };
    let mut never = Case::new("");
    never.rejection = Some(missing());
    let mut still = Case::new("").rollout(1, 1, 1, 1).pod("new", READY);
    still.rejection = Some(missing());
    let mut suspended = Case::new("suspend: true").rollout(0, 0, 0, 0);
    suspended.rejection = Some(missing());
    let mut refused = Case::new("");
    refused.refusals = vec![
        Refusal::name_taken(Kind::Service, "chat-workers"),
        Refusal {
            reason: Reason::PodRejected,
            message: "Deployment chat-workers was refused".to_owned(),
            is_final: true,
            is_namespace_going: false,
        },
    ];
    let cases = [
        (
            "broken from the start",
            invalid(Case::new("").rollout(1, 1, 1, 0)),
        ),
        (
            "broken while an older revision serves",
            invalid(Case::new("").rollout(1, 2, 1, 1).pod("old", READY)),
        ),
        (
            "a server that throws",
            Case::new("")
                .rollout(1, 1, 1, 0)
                .said("CodeFailed", "server.js:1:7: Error: no"),
        ),
        (
            "a newer database",
            Case::new("")
                .rollout(1, 1, 1, 0)
                .said("DatabaseIncompatible", "the schema is newer"),
        ),
        ("code that is missing", never),
        ("code that went missing", still),
        ("code that is missing, suspended", suspended),
        ("objects that are refused", refused),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn trouble_that_may_pass() {
    let starting = || Case::new("").rollout(1, 1, 1, 0);
    let mut taken = Case::new("");
    taken.refusals = vec![Refusal::name_taken(Kind::Service, "chat-workers")];
    let cases = [
        ("no database", starting().said("DatabaseMissing", "there is no URL in a file")),
        ("a secret is missing", starting().said("EnvMissing", "TOKEN: Secret chat has no key token")),
        (
            "no image",
            starting().sidecar("state: { waiting: { reason: ImagePullBackOff, message: 'Back-off pulling image' } }"),
        ),
        (
            "a container that cannot start",
            starting().sidecar("state: { waiting: { reason: CreateContainerConfigError, message: 'secret gone' } }"),
        ),
        (
            "a crash",
            starting().sidecar(
                "state: { waiting: { reason: CrashLoopBackOff } }, \
                 lastState: { terminated: { exitCode: 7, reason: Error, message: \"panicked at 'boom'\" } }",
            ),
        ),
        (
            "out of memory",
            starting().sidecar("state: { terminated: { exitCode: 137, reason: OOMKilled } }"),
        ),
        (
            "no node",
            starting().pod(
                "new",
                "conditions: [{ type: PodScheduled, status: 'False', reason: Unschedulable, \
                 message: '0/1 nodes are available: 1 Insufficient cpu.' }]",
            ),
        ),
        (
            "a quota",
            Case::new("").rollout(1, 0, 0, 0).condition(
                "{ type: ReplicaFailure, status: 'True', reason: FailedCreate, \
                 message: 'pods \"chat\" is forbidden: exceeded quota: q, requested: pods=1' }",
            ),
        ),
        (
            "too slow",
            starting().condition("{ type: Progressing, status: 'False', reason: ProgressDeadlineExceeded }"),
        ),
        (
            "a crash of one that could be spared",
            Case::new("").was_ready().rollout(2, 2, 2, 1).pod("new", READY).sidecar(
                "state: { terminated: { exitCode: 137, reason: OOMKilled } }",
            ),
        ),
        ("a name that is taken", taken),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn routes() {
    let serving = |spec: &str| Case::new(spec).rollout(1, 1, 1, 1).pod("new", READY);
    let routed = "routes: [{ host: chat.example.com }, { host: a.com, path: /b }]";
    let mut taken = serving(routed).gateway();
    let conflict = |route: usize, what: Taken| Conflict {
        route: taken.class.spec.routes[route].clone(),
        owner: ClassKey {
            namespace: "team-b".to_owned(),
            name: "shop".to_owned(),
        },
        taken: what,
    };
    let of_another = vec![conflict(1, Taken::Route)];
    let of_others = vec![
        conflict(0, Taken::Host("*.example.com".to_owned())),
        conflict(1, Taken::Route),
    ];
    let mut strange = serving(routed).gateway();
    strange.routing.conflicts = of_others;
    taken.routing.conflicts = of_another;
    let mut pending = serving(routed).gateway();
    pending.routing.uptake = Uptake::Pending("Ingress chat has no address".to_owned());
    let mut refused = serving(routed).gateway();
    refused.routing.uptake = Uptake::Refused("Gateway public refuses HTTPRoute chat".to_owned());
    let api = format!("{routed}\nhttpRoute: {{ parentRefs: [{{ name: public }}] }}");
    let mut unknown = serving(&api).gateway();
    unknown.routing.has_http_routes = None;
    let cases = [
        ("lead to the gateway", serving(routed).gateway()),
        ("lead nowhere", serving(routed)),
        ("belong to another", taken),
        ("are of another namespace's host", strange),
        ("need the Gateway API", serving(&api).gateway()),
        ("are not taken yet", pending),
        ("are refused by a Gateway", refused),
        ("need what nobody knows whether it is there", unknown),
        (
            "count only once there are pods",
            Case::new(routed).rollout(1, 1, 1, 0),
        ),
    ];
    insta::assert_snapshot!(told(&cases));
}

/// A class that does without one of its pods stays ready when it changes in what does not concern them.
#[test]
fn another_route_leaves_a_class_ready() {
    let no_node = "conditions: [{ type: PodScheduled, status: 'False', reason: Unschedulable, message: full }]";
    let mut case = Case::new("routes: [{ host: a.com }]")
        .gateway()
        .was_ready()
        .rollout(2, 2, 2, 1)
        .pod("new", READY)
        .pod("new", no_node);
    let generation = case.class.metadata.generation.map(|number| number + 1);
    case.class.metadata.generation = generation;
    let told = case.told();
    assert!(told.starts_with("Ready=True Succeeded"), "{told}");
    assert!(told.contains("Reconciling=True Progressing"), "{told}");
    // Where the pods are another matter it has to become ready first.
    let told = case.rollout(2, 3, 1, 1).told();
    assert!(told.starts_with("Ready=False PodUnschedulable"), "{told}");
}

#[test]
fn one_pod_of_several_takes_over_first() {
    let alone = || {
        let mut case = Case::new("").rollout(1, 1, 1, 1).pod("new", READY);
        case.class.spec.scaling.replicas = 3;
        case
    };
    let told = alone().told();
    assert!(
        told.starts_with("Ready=Unknown Progressing: one pod takes over"),
        "{told}"
    );
    let told = alone().was_ready().told();
    assert!(
        told.starts_with("Ready=Unknown Progressing: one pod takes over"),
        "{told}"
    );
}

#[test]
fn a_restart_says_nothing_of_a_ready_pod() {
    let restarted = format!(
        "{READY}\ncontainerStatuses: [{{ name: sidecar, image: i, imageID: '', ready: true, restartCount: 1, \
         lastState: {{ terminated: {{ exitCode: 1, message: '{{\"reason\":\"CodeFailed\",\"message\":\"x\"}}' }} }} }}]"
    );
    let told = Case::new("")
        .rollout(1, 1, 1, 1)
        .pod("new", &restarted)
        .told();
    assert!(told.starts_with("Ready=True Succeeded"), "{told}");
}
