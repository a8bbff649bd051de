//! What the ServerlessWorker standard asks for, by number, in our words.

/// How much of a requirement the tests named after its number prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All of it.
    Tested,
    /// All but this.
    Partly(&'static str),
    /// Nothing, for this reason.
    Exception(&'static str),
}

use Status::{Exception, Partly, Tested};

/// The requirements in their order.
pub const REQUIREMENTS: &[(u32, &str, Status)] = &[
    (
        1,
        "A worker is a module whose default export may have `connect` and `alarm`; a missing one is a warning",
        Tested,
    ),
    (
        2,
        "One instance serves many callers at once and they share its memory",
        Tested,
    ),
    (
        3,
        "Workers share nothing: no globals, prototypes or memory",
        Tested,
    ),
    (
        4,
        "An uncaught error leaves a worker as it was, in memory and in storage",
        Tested,
    ),
    (
        5,
        "What is stored stays stored",
        Partly(
            "killed processes and databases are tested with the store and with the examples, not here",
        ),
    ),
    (
        6,
        "Repeated reads are served from memory",
        Partly(
            "that no round trip is made is proven; how many microseconds it takes is for the benchmarks",
        ),
    ),
    (7, "A worker has at most one live instance", Tested),
    (
        8,
        "A worker has one thread: handlers interleave at `await` only",
        Tested,
    ),
    (
        9,
        "`ServerlessWorker` is constructed with a script and perhaps a name",
        Tested,
    ),
    (10, "A name means the same worker for every caller", Tested),
    (11, "No name is the empty name", Tested),
    (
        12,
        "The same name of another script is another worker",
        Tested,
    ),
    (
        13,
        "Names are strings of at most 1024 bytes of UTF-8",
        Tested,
    ),
    (
        14,
        "The second argument may be an object with the name; the type is `module`",
        Tested,
    ),
    (
        15,
        "Scripts are modules of the application, found from the calling module; others are a TypeError",
        Tested,
    ),
    (
        16,
        "Addressing a worker is all it takes to have it, and stores nothing",
        Tested,
    ),
    (
        17,
        "Constructing wakes nobody before the port is used",
        Tested,
    ),
    (18, "`self.name` is the name", Tested),
    (
        19,
        "No function makes names; `crypto.randomUUID()` does",
        Tested,
    ),
    (20, "Workers call workers with the same interface", Tested),
    (
        21,
        "A port is an EventTarget with `postMessage`, `onmessage`, `start`, `close`",
        Tested,
    ),
    (
        22,
        "Messages are structured clones; what cannot be cloned throws in the sender",
        Tested,
    ),
    (
        23,
        "Messages of a port arrive once, in order, none after its close",
        Tested,
    ),
    (24, "Messages wait for a listener", Tested),
    (25, "Posting to a closed port does nothing", Tested),
    (26, "A message may not be larger than the limit", Tested),
    (
        27,
        "ArrayBuffers can be transferred, other things cannot",
        Tested,
    ),
    (
        28,
        "`close` fires in the worker once when the other side goes",
        Tested,
    ),
    (
        29,
        "A caller may close its port; what it sent before arrives first",
        Tested,
    ),
    (
        30,
        "Ports close when their request is over: its response, `waitUntil`s and WebSocket",
        Tested,
    ),
    (
        31,
        "An open port prevents sleep; a worker's end closes it and says why",
        Tested,
    ),
    (
        32,
        "`connect` runs once for a connection, with one port",
        Tested,
    ),
    (33, "`connect`'s argument can post by itself", Tested),
    (
        34,
        "`connect` may fail, at once or later, and its port stays open",
        Tested,
    ),
    (35, "`connect` waits until the module is evaluated", Tested),
    (
        36,
        "`connect` comes before the first message, `close` after the last",
        Tested,
    ),
    (37, "Top-level `await` loads state", Tested),
    (
        38,
        "A worker has `storage`, `setAlarm`, `waitUntil`, `self.name`, `self.terminate`",
        Tested,
    ),
    (
        39,
        "The WinterTC minimum common API is there",
        Partly("its presence and samples of its behaviour; the web platform tests are not run"),
    ),
    (
        40,
        "A fetch handler answers an upgrade with an end of a WebSocketPair",
        Tested,
    ),
    (41, "`Promise.withResolvers` is there", Tested),
    (
        42,
        "A module that fails gives its callers an error and a close, and is tried again ever more slowly",
        Tested,
    ),
    (
        43,
        "Thrown errors and rejections are logged and disregarded",
        Tested,
    ),
    (
        44,
        "`self.terminate()` ends the instance; storage and name live on",
        Tested,
    ),
    (
        45,
        "Before the end writes are stored; after the call nothing runs; ports close; the alarm stays",
        Tested,
    ),
    (
        46,
        "A worker that loops or exhausts its heap loses its instance and harms no other",
        Tested,
    ),
    (
        47,
        "Overload has its own error with `overloaded` and `retryAfterMs`",
        Tested,
    ),
    (
        48,
        "A full port throws in `postMessage`; a full inbox is an `error` event",
        Tested,
    ),
    (49, "The error has Durable Objects' flag", Tested),
    (50, "A request never hangs: it times out", Tested),
    (
        51,
        "Storage gets, puts and deletes structured clones by key",
        Tested,
    ),
    (52, "`delete` tells whether there was something", Tested),
    (53, "Putting `undefined` is a TypeError", Tested),
    (54, "`list` gives a range in the order of UTF-8", Tested),
    (
        55,
        "Many keys in a call, `deleteAll`, transactions, `sync`",
        Tested,
    ),
    (
        56,
        "Storage is behind one interface, so that another surface can stand beside it",
        Exception(
            "a matter of structure: the `Store` trait, which the store's own tests run for each database",
        ),
    ),
    (
        57,
        "Events interleave while storage works, unless the class wants the input gate",
        Tested,
    ),
    (
        58,
        "Nothing leaves a worker before what it wrote is durable",
        Tested,
    ),
    (
        59,
        "The writes of a turn are stored together or not at all",
        Tested,
    ),
    (60, "Keys, values and calls have limits", Tested),
    (
        61,
        "What was acknowledged survives the loss of a database",
        Exception(
            "needs a synchronous standby: the tests on a cluster have one, and lose the primary (`make e2e ARGS=cloudnative_pg`)",
        ),
    ),
    (
        62,
        "A worker has one alarm; the last one set counts",
        Tested,
    ),
    (63, "A due alarm wakes its worker and runs `alarm`", Tested),
    (
        64,
        "Alarms are stored with the writes of their turn",
        Tested,
    ),
    (65, "A failed alarm is tried again, later and later", Tested),
    (
        66,
        "An alarm set while a module loads or an alarm runs is not lost",
        Tested,
    ),
    (
        67,
        "Times may be past and may be Dates; what is no time is a TypeError",
        Tested,
    ),
    (68, "`getAlarm` and `deleteAlarm`", Tested),
    (
        69,
        "`setAlarm` gives a promise that need not be awaited",
        Tested,
    ),
    (70, "`alarm` never runs twice at once", Tested),
    (
        71,
        "An idle worker sleeps and wakes from the top of its module",
        Tested,
    ),
    (
        72,
        "`waitUntil` keeps a worker awake, for a limited time",
        Tested,
    ),
    (
        73,
        "So do ports, handlers, storage, fetches and timers",
        Tested,
    ),
    (74, "There is no event before the end", Tested),
    (75, "New code takes over from old code", Tested),
    (76, "Workers move between hosts", Tested),
    (
        77,
        "Only the application's `fetch` reaches workers from outside",
        Tested,
    ),
    (
        78,
        "Workers may use the network",
        Partly(
            "link-local addresses and metadata services are denied; a class has no egress policy of its own yet",
        ),
    ),
    (79, "Each worker has its own isolate", Tested),
    (
        80,
        "Containers are not reachable by `fetch` alone",
        Exception("a remark of the proposal; nothing to hold"),
    ),
    (81, "The application is a module with `fetch`", Tested),
    (
        82,
        "A `fetch` that throws or returns no Response is a 500",
        Tested,
    ),
    (83, "The standard's own surface stays small", Tested),
];
