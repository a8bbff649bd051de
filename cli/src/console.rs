//! The application's log on a terminal or in a file: each line with who wrote it.

use std::io::{IsTerminal, Write};

use portside_sidecar::lines::{Colours, written};
use portside_sidecar::{Level, LogLine};

/// Writes the application's log.
pub struct Console {
    colour: bool,
    /// Whether each line says in the course of which request it was written.
    requests: bool,
}

impl Console {
    /// With colours if standard output is a terminal and `NO_COLOR` (no-color.org) is not set.
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && std::io::stdout().is_terminal(),
            requests: false,
        }
    }

    /// With colours or without.
    pub fn coloured(colour: bool) -> Self {
        Self {
            colour,
            requests: false,
        }
    }

    /// Whether lines have colours.
    pub fn has_colours(&self) -> bool {
        self.colour
    }

    /// The same, and each line says in the course of which request it was written, as the gateway's log calls it.
    pub fn with_requests() -> Self {
        Self {
            requests: true,
            ..Self::new()
        }
    }

    /// Writes a line, prefixed with its source: warnings and errors to standard error, the rest to standard output.
    pub fn write(&self, line: LogLine<'_>) {
        let lines = self.format(line);
        // A log that cannot be written must not end the application.
        let _ = match line.level {
            Level::Debug | Level::Info => std::io::stdout().lock().write_all(lines.as_bytes()),
            Level::Warn | Level::Error => std::io::stderr().lock().write_all(lines.as_bytes()),
        };
    }

    fn format(&self, line: LogLine<'_>) -> String {
        const END: &str = "\x1b[0m";
        let colours = match self.colour {
            false => Colours::default(),
            true => Colours {
                source: ("\x1b[36m", END),
                text: match line.level {
                    Level::Debug | Level::Info => ("", ""),
                    Level::Warn => ("\x1b[33m", END),
                    Level::Error => ("\x1b[31m", END),
                },
            },
        };
        written(line, self.requests, colours)
    }
}

#[cfg(test)]
mod tests {
    use portside_core::ids::WorkerKey;
    use portside_sidecar::Identity;

    use super::*;

    #[test]
    fn every_line_says_who_wrote_it() {
        let mut console = Console {
            colour: false,
            requests: false,
        };
        let worker = Identity::Worker(WorkerKey::new("room.js", "lobby").unwrap());
        let mut line = LogLine {
            source: &worker,
            level: Level::Info,
            text: "a\nb\r",
            request: Some("r-1"),
        };
        let text = console.format(line);
        assert_eq!(text, "[room.js#lobby] a\n[room.js#lobby] b\n");
        line.source = &Identity::Server;
        line.text = "x";
        assert_eq!(console.format(line), "[server] x\n");
        console.requests = true;
        assert_eq!(console.format(line), "[server request=r-1] x\n");
        line.request = None;
        assert_eq!(console.format(line), "[server] x\n");
    }
}
