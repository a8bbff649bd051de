// One use of each name of the web platform, but for streams, cryptography and the network.
import { equal, made, next, thrown, utf8 } from "./check.js";

export const uses = {
  AbortController() {
    const controller = new AbortController();
    controller.abort("why");
    equal([controller.signal.aborted, controller.signal.reason], [true, "why"]);
  },
  async AbortSignal() {
    equal(AbortSignal.abort().reason.name, "AbortError");
    const timeout = AbortSignal.timeout(1);
    const any = AbortSignal.any([timeout, new AbortController().signal]);
    await next(any, "abort");
    equal([timeout.reason.name, await thrown(() => any.throwIfAborted())], ["TimeoutError", "TimeoutError"]);
  },
  async Blob() {
    const blob = new Blob(["hel", utf8("lo"), new Blob([" you"])], { type: "text/plain" });
    equal([blob.size, blob.type, await blob.text()], [9, "text/plain", "hello you"]);
    equal(await blob.slice(6, 9).text(), "you");
    equal((await blob.arrayBuffer()).byteLength, 9);
    equal((await blob.bytes())[0], 104);
    equal(await new Response(blob.stream()).text(), "hello you");
  },
  CloseEvent() {
    const { code, reason, wasClean } = new CloseEvent("close", { code: 4000, reason: "why", wasClean: true });
    equal([code, reason, wasClean], [4000, "why", true]);
  },
  CustomEvent() {
    const event = new CustomEvent("mine", { detail: { a: 1 }, cancelable: true });
    event.preventDefault();
    equal([event.type, event.detail, event.defaultPrevented], ["mine", { a: 1 }, true]);
  },
  DOMException() {
    const error = new DOMException("text", "NotFoundError");
    made(error, Error);
    equal([error.name, error.message, error.code], ["NotFoundError", "text", 8]);
  },
  ErrorEvent() {
    const event = new ErrorEvent("error", { message: "text", lineno: 3, error: 1 });
    equal([event.message, event.lineno, event.error], ["text", 3, 1]);
  },
  Event() {
    const event = new Event("mine", { bubbles: true });
    equal([event.type, event.bubbles, event.isTrusted, typeof event.timeStamp], ["mine", true, false, "number"]);
  },
  EventTarget() {
    class Mine extends EventTarget {}
    const mine = new Mine(), heard = [];
    const listener = (event) => heard.push(event.target === mine);
    mine.addEventListener("a", listener, { once: true });
    mine.dispatchEvent(new Event("a"));
    mine.dispatchEvent(new Event("a"));
    mine.addEventListener("b", listener);
    mine.removeEventListener("b", listener);
    mine.dispatchEvent(new Event("b"));
    equal(heard, [true]);
  },
  async File() {
    const file = new File(["text"], "name.txt", { type: "text/plain", lastModified: 5 });
    made(file, Blob);
    equal([file.name, file.lastModified, await file.text()], ["name.txt", 5, "text"]);
  },
  async FileReader() {
    const reader = new FileReader();
    reader.readAsText(new Blob(["text"]));
    await next(reader, "load");
    equal(reader.result, "text");
  },
  async FormData() {
    const form = new FormData();
    form.append("a", "1");
    form.append("a", "2");
    form.set("file", new File(["bytes"], "name.bin"));
    const read = await new Response(form).formData();
    equal([read.getAll("a"), read.has("b"), read.get("file").name], [["1", "2"], false, "name.bin"]);
    equal(await read.get("file").text(), "bytes");
    equal((await new Response(new URLSearchParams("a=1&b=2")).formData()).get("b"), "2");
  },
  Headers() {
    const headers = new Headers({ "X-A": "1" });
    headers.append("x-a", "2");
    headers.append("set-cookie", "a=1");
    headers.append("set-cookie", "b=2");
    equal([headers.get("X-a"), headers.getSetCookie(), headers.has("x-b")], ["1, 2", ["a=1", "b=2"], false]);
    headers.delete("set-cookie");
    equal([...headers], [["x-a", "1, 2"]]);
  },
  async MessageChannel() {
    const { port1, port2 } = new MessageChannel();
    const heard = next(port2, "message");
    port2.start();
    port1.postMessage({ a: new Map([[1, 2]]) });
    equal((await heard).data.a.get(1), 2);
    port1.close();
  },
  async MessagePort() {
    const { port1, port2 } = new MessageChannel();
    made(port1, MessagePort);
    const inner = new MessageChannel();
    port1.postMessage("with a port", [inner.port1]);
    const event = await new Promise((resolve) => port2.onmessage = resolve);
    event.ports[0].postMessage("through it");
    equal((await new Promise((resolve) => inner.port2.onmessage = resolve)).data, "through it");
    for (const port of [port1, inner.port2]) port.close();
  },
  MessageEvent() {
    const event = new MessageEvent("message", { data: 1, origin: "o", lastEventId: "3" });
    equal([event.data, event.origin, event.lastEventId, event.ports], [1, "o", "3", []]);
  },
  Performance: () => made(performance, Performance),
  performance() {
    const before = performance.now();
    performance.mark("a");
    performance.mark("b", { detail: 1 });
    const measure = performance.measure("ab", "a", "b");
    equal([performance.now() >= before, measure.name, performance.getEntriesByName("b")[0].detail], [true, "ab", 1]);
    equal(Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 10_000, true);
    performance.clearMarks();
    performance.clearMeasures();
    equal(typeof performance.toJSON().timeOrigin, "number");
  },
  ProgressEvent() {
    const event = new ProgressEvent("progress", { loaded: 1, total: 2, lengthComputable: true });
    equal([event.loaded, event.total, event.lengthComputable], [1, 2, true]);
  },
  PromiseRejectionEvent() {
    const promise = Promise.resolve();
    const event = new PromiseRejectionEvent("unhandledrejection", { promise, reason: 1 });
    equal([event.promise === promise, event.reason], [true, 1]);
  },
  async QuotaExceededError() {
    made(new QuotaExceededError("text", { quota: 1 }), DOMException);
    equal(await thrown(() => crypto.getRandomValues(new Uint8Array(65_537))), "QuotaExceededError");
  },
  async Request() {
    const controller = new AbortController();
    const request = new Request("http://a/b?c", {
      method: "POST",
      body: '{"a":1}',
      headers: { "content-type": "application/json" },
      signal: controller.signal,
    });
    equal([request.method, request.url, request.headers.get("content-type")], ["POST", "http://a/b?c", "application/json"]);
    equal([await request.clone().json(), await request.text(), request.bodyUsed], [{ a: 1 }, '{"a":1}', true]);
    controller.abort();
    equal(request.signal.aborted, true);
    equal(await thrown(() => new Request("http://a", { body: "x" })), "TypeError");
  },
  async Response() {
    const response = new Response("text", { status: 201, headers: { "x-a": "1" } });
    equal([response.status, response.ok, response.headers.get("x-a")], [201, true, "1"]);
    equal([await response.clone().text(), (await response.bytes()).length], ["text", 4]);
    equal(await Response.json({ a: 1 }).json(), { a: 1 });
    equal([Response.redirect("http://a/", 307).headers.get("location"), Response.error().type], ["http://a/", "error"]);
    equal((await new Response(utf8("abc")).arrayBuffer()).byteLength, 3);
    equal(await (await new Response("blob").blob()).text(), "blob");
  },
  async TextDecoder() {
    equal([new TextDecoder().decode(utf8("ä")), new TextDecoder("windows-1252").decode(new Uint8Array([0x80]))], ["ä", "€"]);
    equal(await thrown(() => new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([255]))), "TypeError");
    const decoder = new TextDecoder("utf-16le");
    equal(decoder.decode(new Uint8Array([97]), { stream: true }) + decoder.decode(new Uint8Array([0])), "a");
  },
  TextEncoder() {
    equal([...new TextEncoder().encode("ä")], [195, 164]);
    equal(new TextEncoder().encodeInto("äa", new Uint8Array(2)), { read: 1, written: 2 });
  },
  async URL() {
    const url = new URL("../c?d=1#e", "https://u:p@example.com:8443/a/b");
    equal(url.href, "https://u:p@example.com:8443/c?d=1#e");
    url.searchParams.append("f", "ä");
    url.hostname = "EXAMPLE.org";
    equal([url.search, url.host], ["?d=1&f=%C3%A4", "example.org:8443"]);
    equal([URL.canParse("x"), URL.parse("http://a").pathname], [false, "/"]);
    equal(await thrown(() => new URL("x")), "TypeError");
  },
  URLPattern() {
    const pattern = new URLPattern({ pathname: "/rooms/:name" });
    equal(pattern.exec("http://a/rooms/lobby").pathname.groups.name, "lobby");
    equal(pattern.test("http://a/rooms"), false);
  },
  URLSearchParams() {
    const params = new URLSearchParams([["b", "2"], ["a", "1"]]);
    params.sort();
    params.append("c", "ä b");
    equal([params.toString(), params.size, params.has("a", "1")], ["a=1&b=2&c=%C3%A4+b", 3, true]);
  },
  async WebAssembly() {
    // (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
    const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0];
    const code = new Uint8Array([...head, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
    const { instance } = await WebAssembly.instantiate(code);
    equal(instance.exports.add(2, 3), 5);
    const served = (type = "application/wasm") => new Response(code, { headers: { "content-type": type } });
    made(await WebAssembly.compileStreaming(served()), WebAssembly.Module);
    const streamed = await WebAssembly.instantiateStreaming(Promise.resolve(served()));
    equal(streamed.instance.exports.add(4, 5), 9);
    equal(await thrown(() => WebAssembly.compileStreaming(served("text/plain"))), "TypeError");
    equal(await thrown(() => WebAssembly.compileStreaming("no response")), "TypeError");
    const garbage = new Response("x", { headers: { "content-type": "application/wasm" } });
    equal(await thrown(() => WebAssembly.compileStreaming(garbage)), "CompileError");
  },
  addEventListener: heardByTheGlobal,
  dispatchEvent: heardByTheGlobal,
  removeEventListener: heardByTheGlobal,
  async atob() {
    equal(atob(" aGVs bG8="), "hello");
    equal(await thrown(() => atob("?")), "InvalidCharacterError");
  },
  async btoa() {
    equal(btoa("hello"), "aGVsbG8=");
    equal(await thrown(() => btoa("€")), "InvalidCharacterError");
  },
  async clearInterval() {
    let ran = false;
    clearInterval(setInterval(() => ran = true, 1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    equal(ran, false);
  },
  async clearTimeout() {
    let ran = false;
    clearTimeout(setTimeout(() => ran = true, 1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    equal(ran, false);
  },
  console() {
    for (const method of ["log", "error", "warn", "info", "debug", "trace", "group", "groupCollapsed"]) {
      console[method]("text %s %d %o", "a", 1, { b: [new Map([[1, new Set([2])]])] });
    }
    console.groupEnd();
    console.groupEnd();
    console.table([{ a: 1 }]);
    console.dir({ a: new URL("http://a"), b: new Headers(), c: new Blob(), d: new Event("e"), e: new AbortController() });
    console.assert(false, "asserted");
    console.count("a");
    console.countReset("a");
    console.time("a");
    console.timeLog("a");
    console.timeEnd("a");
  },
  navigator: () => equal(navigator.userAgent, "Portside"),
  async onerror() {
    try {
      const heard = new Promise((resolve) => self.onerror = (message, _file, _line, _column, error) => resolve([message, error]));
      const error = new Error("reported");
      reportError(error);
      const [message, same] = await heard;
      equal([message.includes("reported"), same === error], [true, true]);
    } finally {
      self.onerror = null;
    }
  },
  async onunhandledrejection() {
    const heard = new Promise((resolve) => self.onunhandledrejection = resolve);
    Promise.reject("why");
    const event = await heard;
    event.preventDefault();
    self.onunhandledrejection = null;
    equal([event.type, event.reason], ["unhandledrejection", "why"]);
  },
  onrejectionhandled() {
    const heard = [];
    self.onrejectionhandled = ({ reason }) => heard.push(reason);
    dispatchEvent(new PromiseRejectionEvent("rejectionhandled", { promise: Promise.resolve(), reason: 1 }));
    self.onrejectionhandled = null;
    equal(heard, [1]);
  },
  async queueMicrotask() {
    const order = ["before"];
    queueMicrotask(() => order.push("in it"));
    order.push("after");
    await null;
    equal(order, ["before", "after", "in it"]);
  },
  async scheduler() {
    const began = performance.now();
    await scheduler.wait(20);
    equal(performance.now() - began >= 19, true);
    const controller = new AbortController();
    setTimeout(() => controller.abort(new RangeError("enough")), 1);
    equal(await thrown(() => scheduler.wait(10_000, { signal: controller.signal })), "RangeError");
  },
  async reportError() {
    const heard = next(self, "error");
    reportError(new TypeError("reported"));
    equal((await heard).error.name, "TypeError");
  },
  self: () => equal(self === globalThis, true),
  async setInterval() {
    let rounds = 0;
    await new Promise((resolve) => {
      const timer = setInterval((step) => {
        rounds += step;
        if (rounds < 6) return;
        clearInterval(timer);
        resolve();
      }, 1, 2);
    });
    equal(rounds, 6);
  },
  async setTimeout() {
    const before = performance.now();
    const argument = await new Promise((resolve) => setTimeout(resolve, 5, "argument"));
    equal([argument, performance.now() - before >= 4], ["argument", true]);
  },
  async structuredClone() {
    const original = { date: new Date(5), map: new Map([["a", new Set([1n])]]), error: new RangeError("r"), bytes: utf8("ab") };
    original.self = original;
    const copy = structuredClone(original);
    equal([copy.date.getTime(), copy.map.get("a").has(1n), copy.error.name, copy.self === copy], [5, true, "RangeError", true]);
    const { buffer } = utf8("abc");
    const moved = structuredClone(buffer, { transfer: [buffer] });
    equal([moved.byteLength, buffer.byteLength], [3, 0]);
    equal(await thrown(() => structuredClone(() => {})), "DataCloneError");
  },
};

function heardByTheGlobal() {
  const heard = [];
  const listener = ({ detail }) => heard.push(detail);
  addEventListener("mine", listener);
  dispatchEvent(new CustomEvent("mine", { detail: 1 }));
  removeEventListener("mine", listener);
  dispatchEvent(new CustomEvent("mine", { detail: 2 }));
  equal(heard, [1]);
}
