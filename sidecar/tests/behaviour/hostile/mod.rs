//! Workers that loop, leak, throw and flood: they harm themselves only.

use std::time::Duration;

use tokio::time::Instant;

use crate::Case;
use crate::app::{PATIENCE, Setup, TestApp};
use crate::lab::{lab, recovers};

mod alarms;
mod errors;
mod floods;
mod loops;
mod memory;
mod resident;
mod starts;
mod threads;
mod unstoppable;

/// The files of this folder and their cases.
pub const SECTIONS: &[(&str, &[Case])] = &[
    ("hostile_alarms", alarms::CASES),
    ("hostile_errors", errors::CASES),
    ("hostile_floods", floods::CASES),
    ("hostile_loops", loops::CASES),
    ("hostile_memory", memory::CASES),
    ("hostile_resident", resident::CASES),
    ("hostile_starts", starts::CASES),
    ("hostile_threads", threads::CASES),
    ("hostile_unstoppable", unstoppable::CASES),
];

/// Generous: a neighbour never waits as long as the longest loop and the noise of a busy machine together.
const NEIGHBOURLY: Duration = Duration::from_secs(5);

/// What the caller of a deed gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An error, thrown by the handler or by the port.
    Error,
    /// "survived".
    Survived,
    /// Whatever, but something.
    Any,
}

/// Tests of one deed each, the body of an async function in a worker; and other tests, listed first.
#[macro_export]
macro_rules! deeds {
    ($(+ $($other:ident),*;)? $($name:ident: $answer:ident $code:expr;)*) => {
        /// This file's tests.
        pub const CASES: &[$crate::Case] = $crate::cases![$($($other,)*)? $($name),*];
        $(async fn $name() {
            $crate::hostile::does($crate::hostile::Answer::$answer, $code).await;
        })*
    };
}

/// Small limits.
pub fn limited(user: &str) -> Setup {
    let mut setup = lab(user);
    setup.limits.heap_bytes = 32 << 20;
    setup.limits.external_bytes = 32 << 20;
    setup.limits.cpu = Duration::from_secs(1);
    setup.limits.request = Duration::from_secs(20);
    setup
}

fn worker(deed: &str) -> String {
    format!(
        r#"export const jobs = {{
            async keep() {{ await storage.put("kept", "treasure"); await setAlarm(Date.now() + 1e8); return "kept"; }},
            async kept() {{ return [await storage.get("kept"), await getAlarm() !== null]; }},
            ping: () => "pong",
            async deed(argument, port) {{ {deed} ; return "survived"; }},
        }};"#
    )
}

/// Has a worker do it, and asserts that the caller hears of it, that the neighbours answer meanwhile, and that the worker's
/// state is there afterwards.
pub async fn does(answer: Answer, deed: &str) {
    let setup = limited(&worker(deed));
    let class = setup.class();
    let app = setup.start().await;
    assert_eq!(app.text("/victim/keep").await, "kept");
    let (status, text) = with_neighbours(&app, app.get("/victim/deed")).await;
    match answer {
        Answer::Error => assert_ne!(status, 200, "{text}"),
        Answer::Survived => assert_eq!((status, text.as_str()), (200, "survived")),
        Answer::Any => {
            // It may have broken its own instance in a way that only new code repairs.
            app.replace(class).await.unwrap();
        }
    }
    recovers(&app, "/victim/kept", r#"["treasure",true]"#).await;
    app.stop().await;
}

/// Awaits `harm`, while another worker and the servers have to answer soon.
pub async fn with_neighbours<T>(app: &TestApp, harm: impl Future<Output = T>) -> T {
    let neighbours = async {
        loop {
            for (path, wanted) in [("/neighbour/ping", "pong"), ("/-/", "the server")] {
                let asked = Instant::now();
                assert_eq!(app.text(path).await, wanted);
                assert!(
                    asked.elapsed() < NEIGHBOURLY,
                    "{path} took {:?}",
                    asked.elapsed()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, harm) => done.expect("the caller hangs"),
        () = neighbours => unreachable!("neighbours answer for ever"),
    }
}
