//! Workers that send and start more than others can take.

crate::deeds! {
    messages_to_a_slow_receiver: Error "const { port: other } = new ServerlessWorker('./worker.js', 'slow'); for (;;) other.postMessage('x'.repeat(1000))";
    large_messages: Error "const { port: other } = new ServerlessWorker('./worker.js', 'slow'); for (;;) other.postMessage(new Uint8Array(4 << 20))";
    messages_to_itself: Error "const { port: other } = new ServerlessWorker('./worker.js', name); for (;;) other.postMessage({ job: 'ping' })";
    messages_to_the_caller: Any "for (let i = 0;; i++) port.postMessage({ text: String(i) })";
    timers: Error "for (;;) setTimeout(() => {}, 1e6)";
    writes: Error "for (let i = 0;; i++) storage.put('k' + i % 100, 'x'.repeat(1000))";
    writes_of_much: Error "for (let i = 0;; i++) storage.put('k' + i, new Uint8Array(1e6))";
    reads: Error "for (;;) storage.get('k')";
    lists: Error "for (;;) storage.list()";
    transactions: Error "for (;;) storage.transaction(async (txn) => { await txn.put('k', 1); })";
    alarms: Error "for (let i = 0;; i++) setAlarm(Date.now() + 1e8 + i)";
    log_lines: Error "for (;;) console.log('x')";
    constructed_workers: Error "for (let i = 0;; i++) new ServerlessWorker('./worker.js', `n${i}`)";
    socket_pairs: Error "for (;;) new WebSocketPair()";
    wait_until: Error "for (;;) waitUntil(new Promise(() => {}))";
    random_bytes: Error "for (;;) crypto.getRandomValues(new Uint8Array(65536))";
    connections_that_end: Survived "for (let i = 0; i < 300; i++) { const w = new ServerlessWorker('./worker.js', 'slow'); w.port.postMessage({ job: 'ping' }); w.port.close(); }";
    a_cycle_of_workers: Any "const { port: other } = new ServerlessWorker('./worker.js', 'victim'); other.postMessage({ job: 'ping' }); await new Promise((resolve) => { other.onmessage = resolve; })";
}
