//! What memory the process really holds when workers ask for more than they may have. Each of these tests runs in a
//! process of its own, for the resident memory of a process is that of all its tests.

use std::time::Duration;

use futures::future::join_all;

use super::limited;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    blobs_count,
    a_bomb_is_read_in_pieces,
    a_burst_of_allocation_loops,
    web_assembly_memories_that_are_filled,
    a_web_assembly_memory_that_grows_itself,
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

async fn grows_at_most(max: usize, name: &str, times: usize, wanted: u16, deed: &str) {
    if std::env::var_os(ALONE).is_none() {
        let ran = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("hostile_resident::{name}")])
            .env(ALONE, "yes")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut setup = limited(&format!(
        "const kept = []; export const jobs = {{ ping: () => 'pong', async deed() {{ {deed} ; return 'done'; }} }};"
    ));
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
    // Nothing is told of it while it runs, so that what bounds it is the largest memory that there may be.
    let name = "a_web_assembly_memory_that_grows_itself";
    grows_at_most((1 << 30) + MAX_GROWTH, name, 1, 500, deed).await;
}
