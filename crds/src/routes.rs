//! Which class a request belongs to.
//!
//! The host decides first: an exact name, else a wildcard, else the routes for every host. Then the longest path by
//! whole segments. `*.example.com` stands for one label, as in an Ingress and in certificates. Nothing is found where
//! the host's routes do not have the path, as with an Ingress's controller, which would answer 404 itself.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::class::Route;

/// A class by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ClassKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A class and the routes it asks for.
#[derive(Debug, Clone)]
pub struct Claim<'c> {
    /// The class.
    pub class: ClassKey,
    /// `metadata.creationTimestamp`.
    pub created: Option<Time>,
    /// `spec.routes`.
    pub routes: &'c [Route],
}

/// A route that a class asks for and does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The route, as the class writes it.
    pub route: Route,
    /// The class that has it.
    pub owner: ClassKey,
}

/// Every route and the class that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// By normal host; paths longest first.
    hosts: HashMap<String, Vec<(String, ClassKey)>>,
    conflicts: BTreeMap<ClassKey, Vec<Conflict>>,
}

impl Routes {
    /// Gives every route to the oldest class that asks for it, of equally old ones to the first by namespace and name.
    #[must_use]
    pub fn new<'c>(claims: impl IntoIterator<Item = Claim<'c>>) -> Self {
        let mut claims: Vec<Claim<'c>> = claims.into_iter().collect();
        // A class without a time is not in the cluster yet: younger than any.
        claims.sort_by_key(|claim| {
            let created = claim.created.as_ref().map(|time| time.0);
            (created.is_none(), created, claim.class.clone())
        });
        let mut routes = Self::default();
        for claim in claims {
            for route in claim.routes {
                routes.give(&claim.class, route);
            }
        }
        for paths in routes.hosts.values_mut() {
            paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        routes
    }

    fn give(&mut self, class: &ClassKey, route: &Route) {
        let paths = self.hosts.entry(normal_host(&route.host)).or_default();
        let path = normal_path(&route.path);
        match paths.iter().find(|(taken, _)| *taken == path) {
            None => paths.push((path, class.clone())),
            // The same twice is one route.
            Some((_, owner)) if owner == class => {}
            Some((_, owner)) => {
                let conflict = Conflict {
                    route: route.clone(),
                    owner: owner.clone(),
                };
                self.conflicts
                    .entry(class.clone())
                    .or_default()
                    .push(conflict);
            }
        }
    }

    /// The class for a request. `host` is the Host header, with or without a port; `path` is the target's path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&ClassKey> {
        let host = normal_host(host);
        let wildcard = || {
            let (_, parent) = host.split_once('.')?;
            self.hosts.get(&format!("*.{parent}"))
        };
        let paths = (self.hosts.get(&host).filter(|_| !host.is_empty()))
            .or_else(wildcard)
            .or_else(|| self.hosts.get(""))?;
        paths
            .iter()
            .find(|(prefix, _)| has_prefix(path, prefix))
            .map(|(_, class)| class)
    }

    /// The routes that the class asks for and others have, in its order.
    #[must_use]
    pub fn conflicts(&self, class: &ClassKey) -> &[Conflict] {
        self.conflicts.get(class).map_or(&[], Vec::as_slice)
    }

    /// The classes that have a route, each once, sorted.
    #[must_use]
    pub fn classes(&self) -> std::collections::BTreeSet<&ClassKey> {
        self.hosts
            .values()
            .flatten()
            .map(|(_, class)| class)
            .collect()
    }
}

/// In lower case, without port and trailing dot.
fn normal_host(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        // An IPv6 address keeps its brackets.
        Some(rest) => rest.find(']').map_or(host, |end| &host[..end + 2]),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Without trailing slashes: the root is empty.
fn normal_path(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

fn has_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        || prefix.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> ClassKey {
        let (namespace, name) = name.split_once('/').unwrap();
        ClassKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// A class, the second it was made in, and its routes as host and path.
    type Asked<'a> = (&'a str, i64, &'a [(&'a str, &'a str)]);

    fn routes(classes: &[Asked<'_>]) -> Routes {
        let routes: Vec<Vec<Route>> = classes
            .iter()
            .map(|(_, _, routes)| {
                let route = |(host, path): &(&str, &str)| Route {
                    host: (*host).into(),
                    path: (*path).into(),
                };
                routes.iter().map(route).collect()
            })
            .collect();
        Routes::new(
            classes
                .iter()
                .zip(&routes)
                .map(|((name, created, _), routes)| Claim {
                    class: class(name),
                    created: Some(Time(
                        k8s_openapi::jiff::Timestamp::from_second(*created).unwrap(),
                    )),
                    routes,
                }),
        )
    }

    #[test]
    fn the_host_decides_then_the_longest_path() {
        let routes = routes(&[
            ("a/root", 1, &[("chat.example.com", "/")]),
            (
                "a/deep",
                2,
                &[
                    ("chat.example.com", "/rooms/vip"),
                    ("only.example.com", "/x/"),
                ],
            ),
            ("a/rooms", 3, &[("CHAT.example.com", "/rooms")]),
            ("a/wild", 4, &[("*.example.com", "/")]),
            ("a/any", 5, &[("", "/any")]),
        ]);
        let found = |host, path| routes.find(host, path).map(ToString::to_string);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(found("chat.example.com", "/"), some("a/root"));
        assert_eq!(found("chat.example.com", "/roomsy"), some("a/root"));
        assert_eq!(found("chat.example.com", "/rooms"), some("a/rooms"));
        assert_eq!(found("Chat.Example.com.:8080", "/rooms/1"), some("a/rooms"));
        assert_eq!(found("chat.example.com", "/rooms/vip/1"), some("a/deep"));
        assert_eq!(found("only.example.com", "/x"), some("a/deep"));
        assert_eq!(found("only.example.com", "/y"), None);
        assert_eq!(found("other.example.com", "/y"), some("a/wild"));
        assert_eq!(found("a.b.example.com", "/any"), some("a/any"));
        assert_eq!(found("example.com", "/any"), some("a/any"));
        assert_eq!(found("[::1]:80", "/any/1"), some("a/any"));
        assert_eq!(found("", "/any"), some("a/any"));
        assert_eq!(found("[::1]", "/"), None);
        assert_eq!(found("chat.example.com", "*"), some("a/root"));
    }

    #[test]
    fn the_oldest_class_has_the_route() {
        let routes = routes(&[
            ("b/new", 9, &[("x.com", "/"), ("x.com", "/new")]),
            ("b/old", 3, &[("X.com", "/"), ("x.com", "")]),
            ("a/old", 3, &[("y.com", "/")]),
            ("a/older", 3, &[("y.com", "/")]),
        ]);
        assert_eq!(routes.find("x.com", "/"), Some(&class("b/old")));
        assert_eq!(routes.find("x.com", "/new"), Some(&class("b/new")));
        assert_eq!(routes.find("y.com", "/"), Some(&class("a/old")));
        assert_eq!(routes.conflicts(&class("b/old")), []);
        let [conflict] = routes.conflicts(&class("b/new")) else {
            panic!("{routes:?}");
        };
        assert_eq!(
            (&*conflict.route.path, &conflict.owner),
            ("/", &class("b/old"))
        );
        assert_eq!(routes.conflicts(&class("a/older")).len(), 1);
        let classes: Vec<_> = routes
            .classes()
            .into_iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(classes, ["a/old", "b/new", "b/old"]);
    }
}
