//! Section 12: goals.

use crate::lab::lab;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![r083_the_surface_is_small];

/// The worker's globals that neither ECMAScript nor the web platform define, also those that other runtimes' programs expect.
/// `self` and `fetch` are the web's.
async fn r083_the_surface_is_small() {
    let user = r#"
        const web = new Set(WEB.split(" "));
        export const jobs = { own: () => Object.getOwnPropertyNames(globalThis).filter((name) => !web.has(name)).sort().join(" ") };
        "#;
    let web = r#"const WEB = `Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date
        Promise RegExp Error AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError SuppressedError
        DisposableStack AsyncDisposableStack globalThis JSON Math Intl ArrayBuffer Atomics Uint8Array Int8Array Uint16Array
        Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray Float16Array Float32Array Float64Array
        DataView Map BigInt Set Iterator WeakMap WeakSet WeakRef FinalizationRegistry Proxy Reflect SharedArrayBuffer Temporal
        ShadowRealm decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite isNaN console
        WebAssembly AbortController AbortSignal Blob ByteLengthQueuingStrategy CloseEvent CompressionStream
        CountQueuingStrategy Crypto CryptoKey CustomEvent DOMException DecompressionStream ErrorEvent Event EventSource
        EventTarget File FileReader FormData Headers MessageChannel MessageEvent MessagePort Performance ProgressEvent PromiseRejectionEvent
        QuotaExceededError ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest
        ReadableStreamDefaultController ReadableStreamDefaultReader Request Response SubtleCrypto TextDecoder
        TextDecoderStream TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController URL URLPattern
        URLSearchParams WebSocket WritableStream WritableStreamDefaultController WritableStreamDefaultWriter atob btoa
        clearInterval clearTimeout crypto fetch navigator onerror onrejectionhandled
        onunhandledrejection performance queueMicrotask reportError self setInterval setTimeout
        structuredClone`.replace(/\s+/g, " ");"#;
    let app = lab(&format!("{web}{user}")).start().await;
    assert_eq!(
        app.text("/w/own").await,
        "FixedLengthStream IdentityTransformStream ServerlessWorker ServerlessWorkerOverloadedError WebSocketPair \
         WebSocketRequestResponsePair deleteAlarm getAlarm name scheduler setAlarm storage terminate waitUntil"
    );
    app.stop().await;
}
