//! What memory the process really holds when workers ask for more than they may have. Each of these tests runs in a
//! process of its own, for the resident memory of a process is that of all its tests.

use std::time::Duration;

use futures::future::join_all;

use super::limited;
use crate::app::Setup;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    blobs_count,
    a_bomb_is_read_in_pieces,
    a_burst_of_allocation_loops,
    resizable_buffers_that_are_filled,
    web_assembly_memories_that_are_filled,
    a_web_assembly_memory_that_grows_itself,
    web_assembly_memories_that_grow_themselves,
    chunks_that_nobody_decompresses,
    compression_streams_count,
    argon2_has_no_more_memory_than_the_rest,
    endless_derivations_are_refused,
    outputs_that_wait_for_a_write,
    messages_that_nobody_listens_to,
    clients_that_do_not_read,
];

/// Set in the process that a test has for itself.
const ALONE: &str = "PORTSIDE_TEST_ALONE";

/// Above what the process holds before: the instance's limits of 32 MiB each, V8's own pages and some garbage.
const MAX_GROWTH: usize = 400 << 20;

/// The process' memory, from `/proc/self/status`, in bytes.
fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

/// Has a worker do `deed` for each of `times` callers at once, and asserts that it is answered as wanted and that the
/// process stays small.
async fn stays_small(name: &str, times: usize, wanted: u16, deed: &str) {
    grows_at_most(MAX_GROWTH, name, times, wanted, deed).await;
}

/// Whether this process is the test's own; else the test has run in one, and is done.
pub async fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let ran = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ALONE, "yes")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}

async fn grows_at_most(max: usize, name: &str, times: usize, wanted: u16, deed: &str) {
    if !is_alone(&format!("hostile_resident::{name}")).await {
        return;
    }
    let mut setup = limited(&format!(
        "import {{ grown }} from './growing.js'; const kept = []; export const jobs = {{ ping: () => 'pong', async deed() {{ {deed} ; return 'done'; }} }};"
    ));
    setup.add(
        "deaf.js",
        "export default { connect({ ports: [port] }) { port.postMessage('here'); } };",
    );
    setup.add("growing.js", include_str!("../surface/growing.js"));
    setup.limits.cpu = Duration::from_secs(50);
    setup.limits.request = Duration::from_secs(60);
    let app = setup.start().await;
    assert_eq!(app.text("/victim/ping").await, "pong");
    let before = memory("VmRSS");
    let answers = join_all((0..times).map(|_| app.get("/victim/deed"))).await;
    for (status, text) in answers {
        assert_eq!(
            status == 200,
            wanted == 200,
            "{status} {text} {:?}",
            app.log.lock().unwrap()
        );
    }
    assert_eq!(app.text("/neighbour/ping").await, "pong");
    let growth = memory("VmHWM").saturating_sub(before);
    assert!(growth < max, "grew by {} MiB", growth >> 20);
    app.stop().await;
}

async fn blobs_count() {
    let deed =
        "for (let i = 0; i < 50; i++) kept.push(new Blob([new Uint8Array(10_000_000).fill(i)]))";
    stays_small("blobs_count", 1, 500, deed).await;
}

async fn a_bomb_is_read_in_pieces() {
    let deed = r#"
        let left = 600;
        const zeros = new ReadableStream({ pull(c) { left-- > 0 ? c.enqueue(new Uint8Array(1 << 20)) : c.close(); } });
        const bomb = await new Response(zeros.pipeThrough(new CompressionStream("gzip"))).bytes();
        let seen = 0;
        for await (const chunk of new Blob([bomb]).stream().pipeThrough(new DecompressionStream("gzip"))) seen += chunk.length;
        if (seen !== 600 << 20) throw new Error(`${seen}`);"#;
    stays_small("a_bomb_is_read_in_pieces", 1, 200, deed).await;
}

async fn a_burst_of_allocation_loops() {
    let deed = "for (;;) kept.push({ a: [1, 2, 3] })";
    stays_small("a_burst_of_allocation_loops", 64, 500, deed).await;
}

async fn resizable_buffers_that_are_filled() {
    let deed = "for (let i = 0;; i++) { const buffer = new ArrayBuffer(0, { maxByteLength: 2 ** 32 }); buffer.resize(2 ** (20 + i % 13)); new Uint8Array(buffer).fill(1); kept.push(buffer); }";
    stays_small("resizable_buffers_that_are_filled", 1, 500, deed).await;
}

async fn web_assembly_memories_that_are_filled() {
    let deed = "for (;;) { const memory = new WebAssembly.Memory({ initial: 160 }); new Uint8Array(memory.buffer).fill(1); kept.push(memory); }";
    stays_small("web_assembly_memories_that_are_filled", 1, 500, deed).await;
}

async fn a_web_assembly_memory_that_grows_itself() {
    // (memory 1) (func (export "f") (loop (memory.fill (i32.shl (memory.grow (i32.const 16)) (i32.const 16))
    //   (i32.const 1) (i32.const 1048576)) (br 0)))
    let deed = r#"
        const code = Uint8Array.fromHex("0061736d01000000" + "010401600000" + "03020100" + "0503010001" + "07050101660000" +
            "0a1a0118" + "00" + "0340" + "4110" + "4000" + "4110" + "74" + "4101" + "418080c000" + "fc0b00" + "0c00" + "0b0b");
        new WebAssembly.Instance(new WebAssembly.Module(code)).exports.f();"#;
    let name = "a_web_assembly_memory_that_grows_itself";
    stays_small(name, 1, 500, deed).await;
}

async fn web_assembly_memories_that_grow_themselves() {
    let deed = "for (let i = 0; i < 60; i++) kept.push(grown([[0, 0]])); for (const { grow } of kept) grow(400)";
    let name = "web_assembly_memories_that_grow_themselves";
    stays_small(name, 1, 500, deed).await;
}

async fn chunks_that_nobody_decompresses() {
    let deed = r#"
        const zeros = new Blob([new Uint8Array(1 << 20)]).stream().pipeThrough(new CompressionStream("gzip"));
        const chunk = new Uint8Array(12 << 20);
        chunk.set(await new Response(zeros).bytes());
        for (let i = 0; i < 60; i++) {
            const stream = new DecompressionStream("gzip");
            kept.push(stream);
            stream.writable.getWriter().write(chunk).catch(() => {});
            await null;
        }
        throw new Error("it need not come to this");"#;
    stays_small("chunks_that_nobody_decompresses", 1, 500, deed).await;
}

async fn compression_streams_count() {
    let deed = r#"for (let i = 0; i < 4000; i++) kept.push(new CompressionStream("gzip"))"#;
    stays_small("compression_streams_count", 1, 500, deed).await;
}

async fn argon2_has_no_more_memory_than_the_rest() {
    let deed = r#"
        const key = await crypto.subtle.importKey("raw-secret", new Uint8Array(16), "Argon2id", false, ["deriveBits"]);
        const algorithm = { name: "Argon2id", memory: 1 << 20, passes: 1, parallelism: 1, nonce: new Uint8Array(16) };
        await crypto.subtle.deriveBits(algorithm, key, 256).then(() => { throw "derived"; }, (error) => {
            if (error.name !== "OperationError") throw error;
        });"#;
    stays_small("argon2_has_no_more_memory_than_the_rest", 1, 200, deed).await;
}

async fn endless_derivations_are_refused() {
    // What is read of the algorithm is read once.
    let deed = r#"
        const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "PBKDF2", false, ["deriveBits", "deriveKey"]);
        let asked = 0;
        const algorithm = { name: "PBKDF2", hash: "SHA-256", salt: new Uint8Array(16), get iterations() { return asked++ ? 0xffffffff : 1; } };
        await crypto.subtle.deriveBits(algorithm, key, 256);
        for (const derive of [
            () => crypto.subtle.deriveBits(algorithm, key, 256),
            () => crypto.subtle.deriveKey(algorithm, key, { name: "AES-GCM", length: 256 }, true, ["encrypt"]),
        ]) {
            await derive().then(() => { throw "derived"; }, (error) => {
                if (error.name !== "OperationError") throw error;
            });
        }"#;
    stays_small("endless_derivations_are_refused", 1, 200, deed).await;
}

async fn outputs_that_wait_for_a_write() {
    let deed = r#"
        const message = new Uint8Array(15 << 20);
        storage.put("x", 1);
        for (let i = 0; i < 100; i++) new ServerlessWorker("./deaf.js", `${i}`).port.postMessage(message);"#;
    stays_small("outputs_that_wait_for_a_write", 1, 500, deed).await;
}

async fn messages_that_nobody_listens_to() {
    let deed = r#"
        const message = new Uint8Array(15 << 20);
        for (let i = 0; i < 80; i++) {
            const { port } = new ServerlessWorker("./deaf.js", `${i % 3}`);
            kept.push(port);
            await new Promise((resolve) => port.onmessage = resolve); // what came before is taken
            port.postMessage(message);
        }"#;
    stays_small("messages_that_nobody_listens_to", 1, 200, deed).await;
}

async fn clients_that_do_not_read() {
    if !is_alone("hostile_resident::clients_that_do_not_read").await {
        return;
    }
    let app = Setup::new(&[(
        "server.js",
        r#"
        let closed = 0;
        export default {
          fetch(request) {
            if (request.url.endsWith("closed")) return new Response(`${closed}`);
            const { 0: client, 1: socket } = new WebSocketPair();
            socket.accept();
            socket.onclose = ({ code }) => { closed += code === 1013; };
            for (let i = 0; i < 15; i++) socket.send(new Uint8Array(1 << 20));
            return new Response(null, { status: 101, webSocket: client });
          },
        };"#,
    )])
    .start()
    .await;
    let before = memory("VmRSS");
    let mut sockets = vec![];
    for _ in 0..100 {
        sockets.push(app.upgrade("/").await.socket.unwrap());
    }
    let growth = memory("VmHWM").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "grew by {} MiB", growth >> 20);
    let closed = crate::app::eventually(async || app.text("/closed").await != "0").await;
    assert!(closed, "the application hears of it");
    drop(sockets);
    // And there is room again.
    let before = app.text("/closed").await;
    let _socket = app.upgrade("/").await.socket.unwrap();
    assert_eq!(app.text("/closed").await, before);
    app.stop().await;
}
