//! What standards ask of the platform's names, beyond that each of them works (which is `surface`).

use crate::Case;
use crate::app::{Peered, Setup};
use crate::lab::lab;

mod bodies;
mod buffers;
mod clones;
mod crypto;
mod events;
mod names;
mod parts;
mod sockets;
mod streams;
mod traces;
mod wasm;

/// The files of this folder and their cases.
pub const SECTIONS: &[(&str, &[Case])] = &[
    ("platform_bodies", bodies::CASES),
    ("platform_buffers", buffers::CASES),
    ("platform_clones", clones::CASES),
    ("platform_crypto", crypto::CASES),
    ("platform_events", events::CASES),
    ("platform_names", names::CASES),
    ("platform_parts", parts::CASES),
    ("platform_sockets", sockets::CASES),
    ("platform_streams", streams::CASES),
    ("platform_traces", traces::CASES),
    ("platform_wasm", wasm::CASES),
];

/// Tests of one truth each, the body of an async function in a worker, which throws where it does not hold; and other
/// tests, listed first. `peer` is the URL of a server that echoes (see `SERVER`); `equal`, `thrown`, `grown` and so on are those of
/// `surface/check.js` and `surface/growing.js`.
#[macro_export]
macro_rules! truths {
    ($(+ $($other:ident),*;)? $($name:ident: $code:expr;)*) => {
        /// This file's tests.
        pub const CASES: &[$crate::Case] = $crate::cases![$($($other,)*)? $($name),*];
        $(async fn $name() {
            $crate::platform::holds($code).await;
        })*
    };
}

/// Workers that run `code`, an async function's body.
pub fn checked(code: &str) -> Setup {
    let mut setup = lab(&format!(
        r#"import {{ equal, LAZY, made, next, thrown, utf8 }} from "./check.js";
        import {{ grown, growing }} from "./growing.js";
        export const jobs = {{
            async code(peer) {{ {code} ; return "held"; }},
            async echo(value) {{ return value; }},
        }};"#
    ));
    setup.add("check.js", include_str!("../surface/check.js"));
    setup.add("growing.js", include_str!("../surface/growing.js"));
    setup.add("peer.js", include_str!("peer.js"));
    setup.modules[0].2 = format!(
        "{}\nimport {{ peers }} from './peer.js';",
        String::from_utf8(setup.modules[0].2.clone())
            .unwrap()
            .replace("const [, name, job] = url.pathname.split(\"/\");",
                "const [, name, job] = url.pathname.split(\"/\");\n    if (name === \"peer\") return peers[job](request);")
    )
    .into_bytes();
    setup
}

/// Runs `code` in a worker.
pub async fn holds(code: &str) {
    let peered = Peered::start(checked(code)).await;
    let path = format!("/w/code?http://{}/peer", peered.peer);
    assert_eq!(peered.app.get(&path).await, (200, "held".to_owned()));
    peered.end().await;
}
