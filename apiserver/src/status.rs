//! What goes wrong, as clients of Kubernetes read it: `metav1.Status`.

use serde_json::{Value, json};

use crate::{GROUP, RESOURCE};

/// An answer that says why there is no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of HTTP.
    pub code: u16,
    /// For programs, as Kubernetes has them.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The name of the worker's object, if it is about one.
    pub name: Option<String>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            name: None,
        }
    }

    /// What cannot be meant.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Nobody knows who asks.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "Unauthorized", message)
    }

    /// Nothing is there.
    #[must_use]
    pub fn no_path(path: &str) -> Self {
        Self::new(404, "NotFound", format!("there is nothing at {path}"))
    }

    /// It cannot be done with that.
    #[must_use]
    pub fn not_allowed(method: &str, path: &str) -> Self {
        let message = format!("{method} cannot be done with {path}");
        Self::new(405, "MethodNotAllowed", message)
    }

    /// The client understands nothing that could be answered.
    #[must_use]
    pub fn not_acceptable() -> Self {
        let message = "the header Accept leaves out application/json: nothing else is answered";
        Self::new(406, "NotAcceptable", message)
    }

    /// A body that is too large.
    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// There are too many of that.
    #[must_use]
    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    /// Something that this server needs does not answer.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// What a pod says that goes wrong, by the status of its answer.
    #[must_use]
    pub fn of_pod(code: u16, message: impl Into<String>) -> Self {
        let (code, reason) = match code {
            400 => (400, "BadRequest"),
            404 => (404, "NotFound"),
            409 => (409, "Conflict"),
            413 => (413, "RequestEntityTooLarge"),
            429 => (429, "TooManyRequests"),
            503 => (503, "ServiceUnavailable"),
            504 => (504, "Timeout"),
            _ => (500, "InternalError"),
        };
        Self::new(code, reason, message)
    }

    /// Who asks may not.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// There is no such worker.
    #[must_use]
    pub fn not_found(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::new(
                404,
                "NotFound",
                format!("{RESOURCE}.{GROUP} \"{name}\" not found"),
            )
        }
    }

    /// It cannot be done now.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    /// What the client continues from is not known here: it has to begin anew.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// What only another replica of this server can answer.
    #[must_use]
    pub fn misdirected(message: impl Into<String>) -> Self {
        Self::new(421, "MisdirectedRequest", message)
    }

    /// What is meant, and is not offered.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// No pod of the class answers, so that nobody knows whether there is such a worker.
    #[must_use]
    pub fn no_pod(namespace: &str, class: &str) -> Self {
        Self::unavailable(no_pod(namespace, class))
    }

    /// As it is answered.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(name) = &self.name {
            status["details"] = json!({ "name": name, "group": GROUP, "kind": RESOURCE });
        }
        status
    }
}

/// What is said where no pod of a class answers.
#[must_use]
pub fn no_pod(namespace: &str, class: &str) -> String {
    format!("class {namespace}/{class} has no pod that answers: its workers are not listed")
}

/// The value of the header `Warning` with that text.
#[must_use]
pub fn warning(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    // A control character would end the header.
    for it in text.chars().filter(|it| !it.is_control()) {
        if matches!(it, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(it);
    }
    format!("299 - \"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let status = Refusal::not_found("shop.1").status();
        assert_eq!(status["code"], 404);
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(status["details"]["name"], "shop.1");
        assert_eq!(
            status["message"],
            "serverlessworkers.runtime.portside.dev \"shop.1\" not found"
        );
        assert!(Refusal::expired("x").status().get("details").is_none());
    }

    #[test]
    fn warnings_are_quoted() {
        assert_eq!(
            warning(&no_pod("ns", "x")),
            "299 - \"class ns/x has no pod that answers: its workers are not listed\""
        );
        assert_eq!(warning("a\"b\\\n"), r#"299 - "a\"b\\""#);
    }
}
