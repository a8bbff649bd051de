//! Modules with any name.

use crate::app::Setup;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![modules_may_have_any_name];

async fn modules_may_have_any_name() {
    let server = r#"import { hello } from "./lib with spaces/grüße.js";
        export default { async fetch() {
            const { later } = await import("./später.js");
            const { port } = new ServerlessWorker("./my worker.js", "w");
            const heard = new Promise((resolve) => port.onmessage = ({ data }) => resolve(data));
            port.postMessage(1);
            return new Response([hello, later, await heard].join());
        } };"#;
    let worker = "export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(new Error('x').stack.split('\\n')[1]); } };";
    let mut setup = Setup::new(&[("my server.js", server), ("my worker.js", worker)]);
    setup.add("lib with spaces/grüße.js", "export const hello = 'hello';");
    setup.add("später.js", "export const later = 'later';");
    setup.main = "my server.js".to_owned();
    let app = setup.start().await;
    let text = app.text("/").await;
    assert!(text.starts_with("hello,later,"), "{text}");
    app.stop().await;
}
