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

    /// What is meant, and is not offered.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// No pod of the class answers, so that nobody knows whether there is such a worker.
    #[must_use]
    pub fn no_pod(namespace: &str, class: &str) -> Self {
        Self::new(503, "ServiceUnavailable", no_pod(namespace, class))
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
