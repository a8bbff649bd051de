//! What a class must keep to beyond the types of its fields.
//!
//! Each rule stands here twice, side by side: as CEL, which the API server evaluates, and as Rust, for programs that
//! read a manifest without a cluster. A message continues the field's path: "spec.code needs exactly one of …".

use std::net::IpAddr;

use portside_core::cron::Cron;
use serde_json::{Value, json};

use crate::class::{
    CaSource, Code, Database, DurableObjects, EnvEntry, EnvSource, Opaque, ServerlessWorkerClass,
    ServerlessWorkerClassSpec, Texts,
};
use crate::names;
use crate::quantity::{self, Quantity};

/// A rule about values of type `T`.
pub(crate) struct Rule<T: ?Sized> {
    /// Of `self`, perhaps of `oldSelf`.
    cel: &'static str,
    /// What the field must be, and thereby what to do.
    pub message: &'static str,
    /// Whether a value keeps to it. Rules about changes always hold here.
    pub holds: fn(&T) -> bool,
}

/// Rules as `x-kubernetes-validations`.
pub(crate) fn schema<T: ?Sized>(rules: &[Rule<T>]) -> Value {
    rules
        .iter()
        .map(|rule| json!({"rule": rule.cel, "message": rule.message}))
        .collect()
}

/// The whole class.
pub(crate) const CLASS: &[Rule<ServerlessWorkerClass>] = &[Rule {
    cel: "self.metadata.name.matches('^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$')",
    message: "metadata.name must be at most 40 lower-case letters, digits and -, the first a letter, such as chat-room: \
              names of Services are made of it",
    holds: |class| {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        name.len() <= names::MAX_CLASS_NAME
            && is_label(name)
            && name.starts_with(|c: char| c.is_ascii_lowercase())
    },
}];

/// `spec`
pub(crate) const SPEC: &[Rule<ServerlessWorkerClassSpec>] = &[
    Rule {
        cel: "!has(self.ingress) || !has(self.ingress.tls) || (has(self.routes) && self.routes.exists(route, route.host != ''))",
        message: "has ingress.tls but no route with a host, which a certificate needs: add one to routes or remove ingress.tls",
        holds: |spec| {
            spec.ingress.tls.is_none() || spec.routes.iter().any(|route| !route.host.is_empty())
        },
    },
    Rule {
        cel: "!has(self.httpRoute) || !has(self.ingress)",
        message: "has both ingress and httpRoute, of which only one is made: remove the other",
        holds: |spec| spec.http_route.is_none() || spec.ingress == Default::default(),
    },
];

/// `spec.code`
pub(crate) const CODE: &[Rule<Code>] = &[Rule {
    cel: "[has(self.inline), has(self.configMap), has(self.oci)].filter(given, given).size() == 1",
    message: "needs exactly one of inline, configMap and oci: add one or remove the others",
    // Outside a cluster the folder with the manifest is the code.
    holds: |code| {
        [
            code.inline.is_some(),
            code.config_map.is_some(),
            code.oci.is_some(),
        ]
        .iter()
        .filter(|given| **given)
        .count()
            <= 1
    },
}];

/// `spec.code.main`
pub(crate) const MAIN: &[Rule<str>] = &[Rule {
    cel: "self != '' && !self.startsWith('/') && !self.split('/').exists(part, part == '..')",
    message: "must be the path of a file of the code, relative and without .., such as src/server.js",
    holds: |path| {
        !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..")
    },
}];

/// `spec.assets.directory`
pub(crate) const ASSETS_DIRECTORY: &[Rule<str>] = &[Rule {
    cel: "self != '' && !self.startsWith('/') && !self.split('/').exists(part, part == '..')",
    message: "must be the path of a folder of the code, relative and without .., such as public",
    holds: |path| {
        !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..")
    },
}];

/// `spec.assets.serverFirst`
pub(crate) const SERVER_FIRST: &[Rule<Vec<String>>] = &[
    Rule {
        cel: "self.all(rule, rule.matches('^!?/'))",
        message: "must have paths that begin with / or !/, such as /api/*",
        holds: |rules| {
            let path = |rule: &String| rule.strip_prefix('!').unwrap_or(rule).starts_with('/');
            rules.iter().all(path)
        },
    },
    Rule {
        cel: "size(self) == 0 || self.exists(rule, !rule.startsWith('!'))",
        message: "has exceptions only: add what they are exceptions of, such as /*",
        holds: |rules| rules.is_empty() || !rules.iter().all(|rule| rule.starts_with('!')),
    },
];

/// `spec.code.include`
pub(crate) const INCLUDE: &[Rule<Vec<String>>] = &[Rule {
    cel: "self.all(glob, glob != '' && !glob.startsWith('/') && !glob.split('/').exists(part, part == '..'))",
    message: "must have globs of files of the code, relative and without .., such as workers/*.js",
    holds: |globs| {
        let is_inside = |glob: &String| {
            !glob.is_empty() && !glob.starts_with('/') && glob.split('/').all(|part| part != "..")
        };
        globs.iter().all(is_inside)
    },
}];

/// `spec.code.inline`
pub(crate) const INLINE: &[Rule<Texts>] = &[
    Rule {
        cel: "self.all(path, path.matches('^[^/]+(/[^/]+)*$') && !path.matches('(^|/)[.][.]?(/|$)'))",
        message: "must have relative paths without . and .., such as workers/room.js",
        holds: |files| files.keys().all(|path| is_plain_path(path)),
    },
    Rule {
        cel: "self.all(path, !self.exists(other, other.startsWith(path + '/')))",
        message: "has a file where another one's folder is to be, such as a and a/b: rename one of them",
        holds: |files| {
            let has_files = |path: &String| {
                let folder = format!("{path}/");
                files.keys().any(|other| other.starts_with(&folder))
            };
            !files.keys().any(has_files)
        },
    },
    Rule {
        cel: "self.map(path, size(self[path])).sum() <= 262144",
        message: "must be at most 256 KiB in all: put the code into a ConfigMap and name it in configMap, or into a registry and name it in oci",
        holds: |files| {
            files
                .values()
                .map(|text| text.chars().count())
                .sum::<usize>()
                <= 256 << 10
        },
    },
];

/// `spec.code.oci.reference`
pub(crate) const OCI_REFERENCE: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]*)?$')",
    message: "must be an artifact with its registry, such as registry.example/acme/chat:1.4, and its digest, if any, in digest",
    holds: is_reference,
}];

/// `spec.code.oci.digest`
pub(crate) const OCI_DIGEST: &[Rule<str>] = &[Rule {
    cel: "self.matches('^sha256:[0-9a-f]{64}$')",
    message: "must be sha256: and 64 lower-case hexadecimal digits: the digest that pushing the artifact printed",
    holds: |digest| {
        digest.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64
                && hex
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    },
}];

/// An object's name.
pub(crate) const OBJECT_NAME: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",
    message: "must be an object's name: lower-case letters, digits, - and ., such as chat-secrets",
    holds: is_subdomain,
}];

/// An entry of `spec.env`
pub(crate) const ENV_ENTRY: &[Rule<EnvEntry>] = &[Rule {
    cel: "!has(self.value) || !has(self.valueFrom)",
    message: "has both value and valueFrom: remove one",
    holds: |entry| entry.value.is_none() || entry.value_from.is_none(),
}];

/// `spec.env[].name`
pub(crate) const ENV_NAME: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
    message: "must be letters, digits and _, not beginning with a digit, such as API_KEY",
    holds: |name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    },
}];

const ONE_SOURCE: &str = "has(self.secretKeyRef) != has(self.configMapKeyRef)";
const ONE_SOURCE_MESSAGE: &str =
    "needs exactly one of secretKeyRef and configMapKeyRef: add one or remove the other";

/// `spec.env[].valueFrom`
pub(crate) const ENV_SOURCE: &[Rule<EnvSource>] = &[Rule {
    cel: ONE_SOURCE,
    message: ONE_SOURCE_MESSAGE,
    holds: |source| source.secret_key_ref.is_some() != source.config_map_key_ref.is_some(),
}];

/// A key of a Secret or ConfigMap
pub(crate) const KEY: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[A-Za-z0-9._-]+$') && self != '.' && self != '..'",
    message: "must be a key of the object: letters, digits, -, _ and ., such as api-key",
    holds: |key| {
        !matches!(key, "" | "." | "..")
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    },
}];

/// `spec.durableObjects`
pub(crate) const DURABLE_OBJECTS: &[Rule<DurableObjects>] = &[Rule {
    cel: "!has(self.bindings) || self.bindings.all(binding, has(self.classes) && self.classes.exists(class, class.name == \
          binding.class))",
    message: "has a binding of a class that is not in classes: add it there",
    holds: |objects| {
        let is_declared = |name: &str| objects.classes.iter().any(|class| class.name == name);
        objects
            .bindings
            .iter()
            .all(|binding| is_declared(&binding.class))
    },
}];

/// A date.
pub(crate) const DATE: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}$')",
    message: "must be a date, such as 2026-01-31",
    holds: |date| {
        let bytes = date.as_bytes();
        let is_digit = |n: usize| bytes[n].is_ascii_digit();
        bytes.len() == 10
            && (0..10).all(|n| {
                if matches!(n, 4 | 7) {
                    bytes[n] == b'-'
                } else {
                    is_digit(n)
                }
            })
    },
}];

/// `spec.triggers.crons`
pub(crate) const CRONS: &[Rule<Vec<String>>] = &[Rule {
    // Whether the numbers are in their ranges is seen by the operator only: this is not the place for it.
    cel: "self.all(cron, cron.matches('^[0-9*,/-]+[ \t]+[0-9*,/-]+[ \t]+[0-9LW*,/-]+[ \t]+[0-9A-Za-z*,/-]+[ \t]+[0-9A-Za-z*,/#-]+$'))",
    message: "must have cron expressions with five fields: minutes, hours, days of the month, months and days of the week, 1 or \
              SUN to 7 or SAT, such as 0 8 * * MON-FRI",
    holds: |crons| crons.iter().all(|cron| cron.parse::<Cron>().is_ok()),
}];

/// `spec.storage.database`
pub(crate) const DATABASE: &[Rule<Database>] = &[Rule {
    cel: "self.secretKeyRef == oldSelf.secretKeyRef",
    message: "cannot have another secretKeyRef, or the workers' state would stay behind: restore it, or make a class of another name",
    holds: |_| true,
}];

/// `spec.storage.database.ca`
pub(crate) const CA_SOURCE: &[Rule<CaSource>] = &[Rule {
    cel: ONE_SOURCE,
    message: ONE_SOURCE_MESSAGE,
    holds: |ca| ca.secret_key_ref.is_some() != ca.config_map_key_ref.is_some(),
}];

/// `spec.limits.heap`
pub(crate) const HEAP: &[Rule<Quantity>] = &[Rule {
    cel: "string(self).matches('^[0-9]{1,15}([.][0-9]{1,3})?([KMGT]i|[kMGT])?$') && \
          quantity(string(self)).compareTo(quantity('8Mi')) >= 0 && quantity(string(self)).compareTo(quantity('16Gi')) <= 0",
    message: "must be a quantity from 8Mi to 16Gi, such as 128Mi",
    holds: |heap| {
        heap.bytes()
            .is_some_and(|bytes| (8 << 20..=16 << 30).contains(&bytes))
    },
}];

/// `spec.limits.externalMemory`
pub(crate) const EXTERNAL_MEMORY: &[Rule<Quantity>] = &[Rule {
    cel: "string(self).matches('^[0-9]{1,15}([.][0-9]{1,3})?([KMGT]i|[kMGT])?$') && \
          quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('64Gi')) <= 0",
    message: "must be a quantity from 1Mi to 64Gi, such as 128Mi",
    holds: |external| {
        external
            .bytes()
            .is_some_and(|bytes| (1 << 20..=64 << 30).contains(&bytes))
    },
}];

macro_rules! duration_rule {
    ($least:literal, $most:literal, $example:literal) => {
        &[Rule {
            cel: concat!(
                "self.matches('^([0-9]{1,6}([.][0-9]{1,3})?h)?([0-9]{1,6}([.][0-9]{1,3})?m)?",
                "([0-9]{1,6}([.][0-9]{1,3})?s)?([0-9]{1,6}ms)?$') && self != '' && duration(self) >= duration('",
                $least,
                "') && duration(self) <= duration('",
                $most,
                "')"
            ),
            message: concat!("must be a duration from ", $least, " to ", $most, ", such as ", $example),
            holds: |text| {
                quantity::duration(text).is_some_and(|duration| {
                    Some(duration) >= quantity::duration($least)
                        && Some(duration) <= quantity::duration($most)
                })
            },
        }]
    };
}

/// `spec.limits.cpu`
pub(crate) const CPU: &[Rule<str>] = duration_rule!("10ms", "10m", "500ms");

/// `spec.limits.requestTimeout`
pub(crate) const REQUEST_TIMEOUT: &[Rule<str>] = duration_rule!("10ms", "1h", "30s");

/// `spec.limits.idle`
pub(crate) const IDLE: &[Rule<str>] = duration_rule!("10ms", "24h", "10s");

/// `spec.network.deny` and `allow`
pub(crate) const NETWORKS: &[Rule<Vec<String>>] = &[Rule {
    cel: "self.all(network, isCIDR(network))",
    message: "must have networks, each an address and a length, such as 10.0.0.0/8 or fd00::/8",
    holds: |networks| networks.iter().all(|network| is_network(network)),
}];

/// `spec.routes[].host`
pub(crate) const HOST: &[Rule<str>] = &[Rule {
    cel: "self == '' || (self.matches('^([*][.])?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$') \
          && !self.matches('^[0-9.]+$'))",
    message: "must be a host name in lower case, without port, such as chat.example.com or *.example.com",
    holds: |host| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        host.is_empty()
            || name.split('.').all(is_label)
                && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    },
}];

/// `spec.routes[].path`
pub(crate) const PATH: &[Rule<str>] = &[Rule {
    cel: "self.matches('^(/[A-Za-z0-9._~!$&()*+,;=:@-]+)*/?$') && self != '' && !self.matches('/[.][.]?(/|$)')",
    message: "must begin with / and have no query, no escapes, and no empty, . or .. segments, such as /rooms",
    holds: |path| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._~!$&()*+,;=:@-".contains(&b);
        let segments = |text: &str| {
            text.split('/').all(|part| {
                !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(plain)
            })
        };
        path == "/"
            || path
                .strip_prefix('/')
                .is_some_and(|rest| segments(rest.strip_suffix('/').unwrap_or(rest)))
    },
}];

/// `spec.routes[].allowNamespaces`
pub(crate) const NAMESPACES: &[Rule<Vec<String>>] = &[Rule {
    cel: "self.all(name, name == '*' || name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",
    message: "must have namespaces: lower-case letters, digits and -, such as team-b, or * for all",
    holds: |namespaces| namespaces.iter().all(|one| one == "*" || is_label(one)),
}];

/// `spec.pod.image`
pub(crate) const IMAGE: &[Rule<str>] = &[Rule {
    cel: "self.matches('^[A-Za-z0-9][A-Za-z0-9._:/@-]*$')",
    message: "must be an image's reference, such as registry.example/portside/sidecar:1.2",
    holds: |image| {
        image.starts_with(|c: char| c.is_ascii_alphanumeric())
            && image
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b))
    },
}];

/// A value in `spec.pod.resources`
pub(crate) const RESOURCE: &[Rule<Quantity>] = &[Rule {
    cel: "isQuantity(string(self)) && !string(self).startsWith('-')",
    message: "must be a quantity, such as 500m or 1Gi",
    holds: |resource| quantity::is_quantity(&resource.0),
}];

/// `spec.pod.extraContainers`
pub(crate) const EXTRA_CONTAINERS: &[Rule<Vec<Opaque>>] = &[Rule {
    cel: "self.all(container, container.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && container.name != 'sidecar')",
    message: "must have names of lower-case letters, digits and -, and not sidecar, which is Portside's: rename the container",
    holds: |containers| {
        containers.iter().all(|container| {
            let name = container.get("name").and_then(Value::as_str);
            name.is_none_or(|name| is_label(name) && name != names::SIDECAR_CONTAINER)
        })
    },
}];

/// `spec.pod.volumes`
pub(crate) const VOLUMES: &[Rule<Vec<Opaque>>] = &[Rule {
    cel: "self.all(volume, !(volume.name in ['app', 'database', 'env', 'pull', 'runtime', 'tmp']) && !volume.name.startsWith('portside-'))",
    message: "must not have Portside's own names, app, database, env, pull, runtime, tmp and portside-…: rename the volume",
    holds: |volumes| {
        volumes.iter().all(|volume| {
            let name = volume.get("name").and_then(Value::as_str);
            name.is_none_or(|name| {
                !names::VOLUMES.contains(&name) && !name.starts_with("portside-")
            })
        })
    },
}];

/// `spec.pod.labels`
pub(crate) const POD_LABELS: &[Rule<Texts>] = &[Rule {
    cel: "self.all(label, !label.startsWith('portside.dev/') && \
          !(label in ['app.kubernetes.io/managed-by', 'app.kubernetes.io/name', 'app.kubernetes.io/instance']))",
    message: "must not have Portside's own labels, portside.dev/… and app.kubernetes.io/managed-by, name and instance: choose others",
    holds: |labels| {
        labels.keys().all(|label| {
            !label.starts_with("portside.dev/")
                && ![
                    names::MANAGED_BY_LABEL,
                    names::NAME_LABEL,
                    names::INSTANCE_LABEL,
                ]
                .contains(&label.as_str())
        })
    },
}];

/// `spec.pod.annotations`
pub(crate) const POD_ANNOTATIONS: &[Rule<Texts>] = &[Rule {
    cel: "self.all(annotation, !annotation.startsWith('portside.dev/'))",
    message: "must not have Portside's own annotations, portside.dev/…: choose others",
    holds: |annotations| {
        annotations
            .keys()
            .all(|one| !one.starts_with("portside.dev/"))
    },
}];

/// A DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(end)
        && bytes.last().is_some_and(end)
        && bytes.len() <= 63
        && bytes.iter().all(|b| end(b) || *b == b'-')
}

/// A DNS subdomain (RFC 1123), without the limits of its labels, as Kubernetes has it.
fn is_subdomain(text: &str) -> bool {
    let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.split('.').all(|part| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(end)
            && bytes.last().is_some_and(end)
            && bytes.iter().all(|b| end(b) || *b == b'-')
    })
}

/// As `isCIDR` has it: no zeros before the length, no IPv4 address in IPv6.
fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => 128,
        _ => return false,
    };
    length
        .parse::<u8>()
        .is_ok_and(|bits| bits <= most && bits.to_string() == length)
}

fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn is_reference(text: &str) -> bool {
    let Some((registry, rest)) = text.split_once('/') else {
        return false;
    };
    let (host, port) = registry.split_once(':').unwrap_or((registry, "1"));
    let (repository, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
    let all = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let first =
        |text: &str, more: char| text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == more);
    first(host, '0')
        && all(host, b".-")
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && repository.split('/').all(|part| {
            first(part, '0') && all(part, b"._-") && !part.bytes().any(|b| b.is_ascii_uppercase())
        })
        && first(tag, '_')
        && all(tag, b"._-")
}
