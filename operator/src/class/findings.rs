//! What the conditions say. Pure: a table from what was seen to what is told.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use portside_crds::conditions::{ConditionType, Finding, Holds};
use portside_crds::names;
use portside_crds::routes::{Conflict, Taken};
use portside_crds::{Reason, ServerlessWorkerClass};

use super::rollout::{self, Rollout, Trouble};
use super::uptake::Uptake;
use super::validate::{Rejection, Routing};
use crate::api::Refusal;

/// What was seen of a class.
pub(crate) struct Seen<'a> {
    /// The class, its former conditions among it.
    pub class: &'a ServerlessWorkerClass,
    /// Why it cannot work, if that was found out before any pod was made.
    pub rejection: Option<&'a Rejection>,
    /// What could not be written.
    pub refusals: &'a [Refusal],
    /// The Deployment as the API server has it.
    pub deployment: Option<&'a Deployment>,
    /// The class's pods.
    pub pods: Vec<&'a Pod>,
    /// How it is reached.
    pub routing: &'a Routing,
}

/// How the class fares as a whole.
enum Verdict {
    /// It does as it should. Something may still be going on.
    Good {
        reason: Reason,
        message: String,
        going_on: Option<String>,
    },
    /// It is being worked on.
    Underway {
        reason: Reason,
        message: String,
        broken: bool,
    },
    /// Only a change can help.
    Stuck { reason: Reason, message: String },
}

/// Every condition's content.
pub(crate) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut findings = verdict_findings(overall(seen));
    findings.extend([
        code_loaded(seen),
        available(seen),
        routes_ready(seen.routing, seen.class),
        storage_ready(seen),
    ]);
    findings
}

fn verdict_findings(verdict: Verdict) -> Vec<Finding> {
    use ConditionType::{Ready, Reconciling, Stalled};
    match verdict {
        Verdict::Good {
            reason,
            message,
            going_on,
        } => {
            let mut findings = vec![Finding::yes(Ready, reason, message)];
            findings
                .extend(going_on.map(|what| Finding::yes(Reconciling, Reason::Progressing, what)));
            findings
        }
        Verdict::Underway {
            reason,
            message,
            broken,
        } => vec![
            if broken {
                Finding::no(Ready, reason, message.clone())
            } else {
                Finding::unknown(Ready, reason, message.clone())
            },
            Finding::yes(Reconciling, reason, message),
        ],
        Verdict::Stuck { reason, message } => vec![
            Finding::no(Ready, reason, message.clone()),
            Finding::yes(Stalled, reason, message),
        ],
    }
}

fn overall(seen: &Seen<'_>) -> Verdict {
    if let Some(Rejection { reason, message }) = seen.rejection
        && stopped(seen.class).is_none()
    {
        return Verdict::Stuck {
            reason: *reason,
            message: message.clone(),
        };
    }
    let refusal = seen
        .refusals
        .iter()
        .find(|one| one.is_final)
        .or(seen.refusals.first());
    if let Some(refusal) = refusal {
        return judged(refusal.reason, &refusal.message, refusal.is_final);
    }
    let verdict = pods(seen);
    if let (Verdict::Good { .. }, None) = (&verdict, stopped(seen.class)) {
        let routes = routes_ready(seen.routing, seen.class);
        // What is not known keeps no class from being ready: there are Ingress controllers that say nothing.
        if routes.holds == Holds::No {
            return judged(
                routes.reason,
                &routes.message,
                routes.reason == Reason::RouteConflict,
            );
        }
    }
    verdict
}

fn judged(reason: Reason, message: &str, is_final: bool) -> Verdict {
    let message = message.to_owned();
    if is_final {
        Verdict::Stuck { reason, message }
    } else {
        Verdict::Underway {
            reason,
            message,
            broken: true,
        }
    }
}

fn pods(seen: &Seen<'_>) -> Verdict {
    let rollout = seen.deployment.map(Rollout::of);
    if let Some(stopped) = stopped(seen.class) {
        return without_pods(stopped, rollout.as_ref());
    }
    let Some(rollout) = rollout else {
        return Verdict::Underway {
            reason: Reason::Progressing,
            message: "the pods are being made".to_owned(),
            broken: false,
        };
    };
    // There is one pod until those are gone that share no workers with others.
    let is_alone = rollout.desired != seen.class.spec.scaling.replicas;
    let is_replaced = rollout.is_replaced() && !is_alone;
    let numbers = format!("{} of {} pods are ready", rollout.ready, rollout.desired);
    if rollout.is_complete() && !is_alone {
        return Verdict::Good {
            reason: Reason::Succeeded,
            message: numbers,
            going_on: None,
        };
    }
    if let Some(trouble) = worst_trouble(seen) {
        // A class that serves is not called broken for a pod it could do without.
        if was_ready(seen) && is_replaced && rollout.ready > 0 {
            return still_good(numbers, trouble.message);
        }
        return judged(trouble.reason, &trouble.message, trouble.is_final);
    }
    if was_ready(seen) && is_replaced {
        if rollout.ready > 0 {
            return still_good(numbers.clone(), numbers);
        }
        return Verdict::Underway {
            reason: Reason::NoPodReady,
            message: numbers,
            broken: true,
        };
    }
    let message = if is_alone {
        "one pod takes over from those that share no workers, then others come".to_owned()
    } else if rollout.observed {
        format!(
            "{} of {} pods have the newest revision, {} of {} are ready",
            rollout.updated, rollout.desired, rollout.ready, rollout.replicas
        )
    } else {
        "the pods are being made or replaced".to_owned()
    };
    Verdict::Underway {
        reason: Reason::Progressing,
        message,
        broken: false,
    }
}

fn still_good(message: String, going_on: String) -> Verdict {
    Verdict::Good {
        reason: Reason::Succeeded,
        message,
        going_on: Some(going_on),
    }
}

/// Why a class is meant to have no pods.
struct Stopped {
    reason: Reason,
    /// What says so.
    why: &'static str,
    /// What to do about it.
    next: &'static str,
}

fn stopped(class: &ServerlessWorkerClass) -> Option<Stopped> {
    if class.spec.suspend {
        Some(Stopped {
            reason: Reason::Suspended,
            why: "spec.suspend is true",
            next: "set it to false to resume",
        })
    } else if class.spec.scaling.replicas == 0 {
        Some(Stopped {
            reason: Reason::ScaledToZero,
            why: "spec.scaling.replicas is 0",
            next: "requests are refused until it is 1 or more",
        })
    } else {
        None
    }
}

/// A class without pods that is to have none is as it should be: to tools that wait for `Ready` there is nothing to wait for.
fn without_pods(stopped: Stopped, rollout: Option<&Rollout>) -> Verdict {
    let Stopped { reason, why, next } = stopped;
    let going = rollout.is_some_and(|rollout| !rollout.observed || rollout.replicas > 0);
    Verdict::Good {
        reason,
        message: format!("no pods run, as {why}; {next}"),
        going_on: going.then(|| "the pods hand over and end".to_owned()),
    }
}

/// Whether the class was ready, and lost no more than pods since.
///
/// Whichever generation that was of: where the pods are of the newest revision, and none is about to be replaced, one that is newer asks
/// for the same pods.
fn was_ready(seen: &Seen<'_>) -> bool {
    let status = seen.class.status.as_ref();
    let ready = status.and_then(|status| status.condition(ConditionType::Ready));
    ready.is_some_and(|ready| {
        ready.status == Holds::Yes.as_str() || ready.reason == Reason::NoPodReady.as_str()
    })
}

/// The pods of the newest revision: those with the inputs that the Deployment's template has.
fn newest<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a Pod> {
    let inputs = seen
        .deployment
        .and_then(|one| one.annotations().get(names::INPUTS_ANNOTATION));
    let pods = seen
        .pods
        .iter()
        .copied()
        .filter(|pod| rollout::is_sidecar(pod));
    pods.filter(move |pod| {
        inputs.is_some() && pod.annotations().get(names::INPUTS_ANNOTATION) == inputs
    })
}

/// What keeps the newest revision from being ready: what is final first, else the pods' own before the Deployment's.
fn worst_trouble(seen: &Seen<'_>) -> Option<Trouble> {
    let mut of_pods: Vec<Trouble> = newest(seen).filter_map(rollout::trouble).collect();
    of_pods.sort_by(|one, other| {
        let key = |trouble: &Trouble| (!trouble.is_final, trouble.reason);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.message.cmp(&other.message))
    });
    let of_deployment = seen.deployment.and_then(rollout::deployment_trouble);
    of_pods.into_iter().next().or(of_deployment)
}

fn newest_is_ready(seen: &Seen<'_>) -> bool {
    newest(seen).any(rollout::is_ready)
}

fn code_loaded(seen: &Seen<'_>) -> Finding {
    use ConditionType::CodeLoaded;
    const OF_CODE: [Reason; 7] = [
        Reason::CodeMissing,
        Reason::CodeTooLarge,
        Reason::CodePullFailed,
        Reason::CodeDigestMismatch,
        Reason::CodeInvalid,
        Reason::CodeFailed,
        Reason::ClassInvalid,
    ];
    let rejected = seen.rejection.map(|one| (one.reason, one.message.clone()));
    let found = rejected.or_else(|| worst_trouble(seen).map(|one| (one.reason, one.message)));
    match found {
        Some((reason, message)) if OF_CODE.contains(&reason) => {
            Finding::no(CodeLoaded, reason, message)
        }
        _ if seen.rejection.is_none() && newest_is_ready(seen) => Finding::yes(
            CodeLoaded,
            Reason::Succeeded,
            "the server's module was evaluated",
        ),
        _ => not_known_yet(CodeLoaded, seen),
    }
}

fn storage_ready(seen: &Seen<'_>) -> Finding {
    use ConditionType::StorageReady;
    const OF_STORAGE: [Reason; 3] = [
        Reason::DatabaseMissing,
        Reason::DatabaseUnavailable,
        Reason::DatabaseIncompatible,
    ];
    match worst_trouble(seen) {
        Some(Trouble {
            reason, message, ..
        }) if OF_STORAGE.contains(&reason) => Finding::no(StorageReady, reason, message),
        _ if newest_is_ready(seen) => {
            Finding::yes(StorageReady, Reason::Succeeded, "the database answers")
        }
        _ => not_known_yet(StorageReady, seen),
    }
}

fn not_known_yet(kind: ConditionType, seen: &Seen<'_>) -> Finding {
    match stopped(seen.class) {
        Some(stopped) => Finding::unknown(kind, stopped.reason, "no pod runs that could tell"),
        None => Finding::unknown(
            kind,
            Reason::Progressing,
            "no pod of the newest revision is ready yet",
        ),
    }
}

fn available(seen: &Seen<'_>) -> Finding {
    use ConditionType::Available;
    let ready = seen
        .pods
        .iter()
        .copied()
        .filter(|pod| rollout::is_sidecar(pod));
    let ready = ready.filter(|pod| rollout::is_ready(pod)).count();
    let failed = seen.rejection.is_some() || worst_trouble(seen).is_some_and(|one| one.is_final);
    if let (0, Some(Stopped { reason, why, .. })) = (ready, stopped(seen.class)) {
        return Finding::no(Available, reason, format!("no pods run, as {why}"));
    }
    if ready == 0 {
        return Finding::no(Available, Reason::NoPodReady, "no pod is ready");
    }
    if newest_is_ready(seen) && seen.rejection.is_none() {
        return Finding::yes(
            Available,
            Reason::Succeeded,
            "pods of the newest revision are ready",
        );
    }
    let (reason, message) = if failed {
        (
            Reason::RevisionFailed,
            "an earlier revision serves, as the newest one cannot",
        )
    } else {
        (
            Reason::Progressing,
            "an earlier revision serves until the newest one is ready",
        )
    };
    Finding::yes(Available, reason, message)
}

fn routes_ready(routing: &Routing, class: &ServerlessWorkerClass) -> Finding {
    use ConditionType::RoutesReady;
    let routes = &class.spec.routes;
    if routes.is_empty() {
        let message = "the class has no routes; only pods that may connect to its Service reach it";
        return Finding::yes(RoutesReady, Reason::NoRoutes, message);
    }
    if !routing.conflicts.is_empty() {
        return Finding::no(
            RoutesReady,
            Reason::RouteConflict,
            conflicts(routing, class),
        );
    }
    if class.spec.http_route.is_some() {
        match routing.has_http_routes {
            Some(true) => {}
            Some(false) => {
                let message = "the cluster has no HTTPRoutes (gateway.networking.k8s.io/v1); install the Gateway API, \
                               or remove spec.httpRoute to get an Ingress";
                return Finding::no(RoutesReady, Reason::GatewayUnavailable, message);
            }
            None => {
                let message = "the API server has not said yet whether it has HTTPRoutes (gateway.networking.k8s.io/v1), or which; \
                               it is asked again";
                return Finding::unknown(RoutesReady, Reason::Progressing, message);
            }
        }
    }
    if !has_gateway(routing) {
        let name = &routing.gateway_name;
        let message = format!("no pod behind the gateway's Service {name} is ready; see its pods");
        return Finding::no(RoutesReady, Reason::GatewayUnavailable, message);
    }
    match &routing.uptake {
        Uptake::Refused(message) => Finding::no(RoutesReady, Reason::RouteRefused, message.clone()),
        Uptake::Pending(message) => {
            Finding::unknown(RoutesReady, Reason::RoutePending, message.clone())
        }
        Uptake::Done => Finding::yes(
            RoutesReady,
            Reason::Succeeded,
            "the routes lead to the gateway",
        ),
    }
}

/// Which routes others have, and what to do.
fn conflicts(routing: &Routing, class: &ServerlessWorkerClass) -> String {
    let (mut routes, mut hosts) = (vec![], vec![]);
    for Conflict {
        route,
        owner,
        taken,
    } in &routing.conflicts
    {
        let asked = format!("{}{}", route.host, route.path);
        match taken {
            Taken::Route => routes.push(format!("{asked} belongs to class {owner}")),
            Taken::Host(host) => {
                let host = match host.as_str() {
                    "" => "the empty host",
                    host => host,
                };
                let namespace = &owner.namespace;
                hosts.push(format!(
                    "{asked}: {host} belongs to namespace {namespace}, whose class {} is older",
                    owner.name
                ));
            }
        }
    }
    let mut told = vec![];
    if !routes.is_empty() {
        told.push(format!(
            "{}, which is older; choose another host or path, or remove the route there",
            routes.join(", ")
        ));
    }
    if !hosts.is_empty() {
        told.push(format!(
            "{}; choose another host, or have {} added to allowNamespaces of that route",
            hosts.join(", "),
            class.metadata.namespace.as_deref().unwrap_or_default()
        ));
    }
    told.join("; ")
}

fn has_gateway(routing: &Routing) -> bool {
    let endpoints = routing.gateway.iter().flat_map(|slice| &slice.endpoints);
    endpoints.into_iter().any(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|one| one.ready).unwrap_or(true)
    })
}

#[cfg(test)]
mod tests;
