//! Why a sidecar ends, for the kubelet and so for the class's status.

use std::path::Path;

use portside_bundle::Problem;
use portside_crds::sidecar::{Termination, TerminationReason};

/// Why it ends.
pub enum Failure {
    /// It cannot start; the class's status will say why.
    Start(Termination),
    /// It ran, and may not go on. The kubelet starts it anew.
    Lost(String),
}

impl Failure {
    /// A reason, and a message with the place and the next step.
    pub fn new(reason: TerminationReason, message: impl Into<String>) -> Self {
        Self::Start(Termination {
            reason,
            message: message.into(),
        })
    }

    /// Problems of the code, or of the manifest if it has any.
    pub fn of_code(problems: &[Problem]) -> Self {
        let in_manifest = problems.iter().any(|problem| problem.path == "class.yaml");
        let reason = if in_manifest {
            TerminationReason::ClassInvalid
        } else {
            TerminationReason::CodeInvalid
        };
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| match &problem.help {
                Some(help) => format!("{problem} ({help})"),
                None => problem.to_string(),
            })
            .collect();
        Self::new(reason, lines.join("\n"))
    }

    /// What is wrong, for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Start(termination) => &termination.message,
            Self::Lost(why) => why,
        }
    }

    /// Writes it to standard error and, if it explains why there was no start, to the termination log.
    pub fn report(&self, log: &Path) {
        eprintln!("portside: {}", self.message());
        if let Self::Start(termination) = self
            && let Err(error) = std::fs::write(log, termination.to_log())
        {
            eprintln!("portside: cannot write {}: {error}", log.display());
        }
    }
}
