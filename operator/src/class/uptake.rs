//! What Ingress controllers and Gateways make of the objects that lead to a class. Only metadata and status are read of these.

use k8s_openapi::api::networking::v1::{Ingress, IngressStatus};
use kube::api::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use portside_crds::class::ParentRef;
use portside_crds::routes::ClassKey;
use portside_crds::{ServerlessWorkerClass, names};
use serde::Deserialize;

use super::Context;
use super::http_routes::HTTPRoute;
use super::owned;

/// Whether requests for a class's routes arrive, as far as can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Uptake {
    /// Nobody has said so: of which object, and where to look.
    Pending(String),
    /// Somebody refuses to: who, and why.
    Refused(String),
    /// They do.
    #[default]
    Done,
}

/// Of an Ingress.
#[derive(Resource, Deserialize, Debug, Clone, Default)]
#[resource(inherit = "Ingress")]
pub(crate) struct IngressSeen {
    pub metadata: ObjectMeta,
    pub status: Option<IngressStatus>,
}

/// Of an HTTPRoute.
#[derive(Resource, Deserialize, Debug, Clone, Default)]
#[resource(inherit = "HTTPRoute")]
pub(crate) struct HttpRouteSeen {
    pub metadata: ObjectMeta,
    pub status: Option<HttpRouteStatus>,
}

/// What Gateways say of an HTTPRoute.
///
/// Source: <https://gateway-api.sigs.k8s.io/reference/spec/#routestatus>.
#[derive(Deserialize, Debug, Clone, Default)]
pub(crate) struct HttpRouteStatus {
    /// Each of them.
    #[serde(default)]
    pub parents: Vec<ParentStatus>,
}

/// What one of them says.
#[derive(Deserialize, Debug, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentStatus {
    /// Which one.
    pub parent_ref: ParentRef,
    /// What it says.
    #[serde(default)]
    pub conditions: Vec<Said>,
}

/// A condition, as others write them.
#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Said {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: Option<i64>,
}

/// What becomes of the class's routes.
pub(crate) fn find(context: &Context, class: &ServerlessWorkerClass, key: &ClassKey) -> Uptake {
    let uid = class.metadata.uid.as_deref();
    let Some(wanted) = &class.spec.http_route else {
        let name = names::ingress(&key.name);
        let of_class = ObjectRef::new(&name).within(&key.namespace);
        let found = context.caches.ingresses.get(&of_class);
        let found = found.filter(|one| owned::is_owned(&one.metadata, uid));
        return of_ingress(&name, found.as_deref());
    };
    let made = context.http_routes.store().state_filter(|route| {
        route.metadata.namespace.as_ref() == Some(&key.namespace)
            && owned::is_owned(&route.metadata, uid)
    });
    of_http_routes(&wanted.parent_refs, made.iter().map(|route| &**route))
}

fn of_ingress(name: &str, ingress: Option<&IngressSeen>) -> Uptake {
    let status = ingress.and_then(|ingress| ingress.status.as_ref());
    let addresses = status
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref())
        .is_some_and(|addresses| !addresses.is_empty());
    if addresses {
        return Uptake::Done;
    }
    Uptake::Pending(format!(
        "Ingress {name} has no address: no Ingress controller has taken it yet, or the one that has publishes none; see \
         `kubectl describe ingress {name}` and `kubectl get ingressclass`"
    ))
}

fn of_http_routes<'r>(
    wanted: &[ParentRef],
    routes: impl Iterator<Item = &'r HttpRouteSeen>,
) -> Uptake {
    let mut uptake = Uptake::Done;
    let mut is_made = false;
    for route in routes {
        is_made = true;
        for parent in wanted {
            match of_parent(route, parent) {
                Uptake::Done => {}
                refused @ Uptake::Refused(_) => return refused,
                pending @ Uptake::Pending(_) => uptake = pending,
            }
        }
    }
    if is_made {
        uptake
    } else {
        Uptake::Pending("the HTTPRoute is being made".to_owned())
    }
}

fn of_parent(route: &HttpRouteSeen, parent: &ParentRef) -> Uptake {
    let name = route.name_any();
    let own = route.metadata.namespace.as_deref().unwrap_or_default();
    let place = |parent: &ParentRef| {
        let namespace = parent.namespace.clone().unwrap_or_else(|| own.to_owned());
        (namespace, parent.name.clone(), parent.section_name.clone())
    };
    let (namespace, gateway, _) = place(parent);
    let said = route.status.iter().flat_map(|status| &status.parents);
    let said = said.filter(|said| place(&said.parent_ref) == place(parent));
    let said = said.flat_map(|said| &said.conditions).filter(|said| {
        let of = said.observed_generation;
        of.is_none() || of >= route.metadata.generation
    });
    let said: Vec<&Said> = said.collect();
    let refusal = said
        .iter()
        .find(|said| matches!(&*said.kind, "Accepted" | "ResolvedRefs") && said.status == "False");
    if let Some(Said {
        reason, message, ..
    }) = refusal
    {
        return Uptake::Refused(format!(
            "Gateway {gateway} in namespace {namespace} refuses HTTPRoute {name}: {message} ({reason}); change \
             spec.httpRoute or spec.routes, or the Gateway"
        ));
    }
    if said
        .iter()
        .any(|said| said.kind == "Accepted" && said.status == "True")
    {
        return Uptake::Done;
    }
    Uptake::Pending(format!(
        "Gateway {gateway} in namespace {namespace} has not taken HTTPRoute {name} yet; see `kubectl -n {namespace} describe \
         gateway {gateway}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit::yaml;

    #[test]
    fn an_ingress_is_taken_when_it_has_an_address() {
        let pending = |uptake: Uptake| matches!(uptake, Uptake::Pending(said) if said.contains("ingress chat"));
        assert!(pending(of_ingress("chat", None)));
        for (status, done) in [
            ("{}", false),
            ("{ loadBalancer: {} }", false),
            ("{ loadBalancer: { ingress: [] } }", false),
            ("{ loadBalancer: { ingress: [{ ip: 10.0.0.1 }] } }", true),
            ("{ loadBalancer: { ingress: [{ hostname: lb }] } }", true),
        ] {
            let ingress: IngressSeen = yaml(&format!("metadata: {{}}\nstatus: {status}"));
            let uptake = of_ingress("chat", Some(&ingress));
            assert_eq!(uptake == Uptake::Done, done, "{status}");
            assert_eq!(pending(uptake), !done, "{status}");
        }
    }

    fn route(conditions: &str) -> HttpRouteSeen {
        yaml(&format!(
            "metadata: {{ name: chat, namespace: a, generation: 2 }}\n\
             status: {{ parents: [{{ parentRef: {{ name: public, namespace: a, sectionName: web }}, controllerName: x, \
             conditions: [{conditions}] }}] }}"
        ))
    }

    #[test]
    fn an_http_route_is_taken_when_every_gateway_accepts_it() {
        let accepted = "{ type: Accepted, status: 'True', observedGeneration: 2 }";
        let stale = "{ type: Accepted, status: 'False', observedGeneration: 1 }";
        let refused =
            "{ type: Accepted, status: 'False', reason: NotAllowedByListeners, message: no }";
        let unresolved = "{ type: ResolvedRefs, status: 'False', reason: BackendNotFound }";
        let wanted: ParentRef = yaml("{ name: public, sectionName: web }");
        let other: ParentRef = yaml("{ name: public, namespace: b, sectionName: web }");
        let uptake = |said: &str, wanted: &[&ParentRef]| {
            let wanted: Vec<ParentRef> = wanted.iter().copied().cloned().collect();
            match of_http_routes(&wanted, [route(said)].iter()) {
                Uptake::Done => "done".to_owned(),
                Uptake::Pending(said) | Uptake::Refused(said) => said,
            }
        };
        let pending = "Gateway public in namespace a has not taken HTTPRoute chat yet";
        for (said, wanted, expected) in [
            (accepted, &[&wanted][..], "done"),
            ("", &[&wanted], pending),
            (stale, &[&wanted], pending),
            (
                refused,
                &[&wanted],
                "Gateway public in namespace a refuses HTTPRoute chat: no (NotAllowedByListeners)",
            ),
            (
                &format!("{accepted}, {unresolved}"),
                &[&wanted],
                "Gateway public in namespace a refuses HTTPRoute chat:  (BackendNotFound)",
            ),
            (
                accepted,
                &[&wanted, &other],
                "Gateway public in namespace b has not taken",
            ),
        ] {
            let found = uptake(said, wanted);
            assert!(found.starts_with(expected), "{said}: {found}");
        }
        assert_ne!(of_http_routes(&[wanted], [].into_iter()), Uptake::Done);
    }
}
