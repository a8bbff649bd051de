// One use of each name that reaches others over the network: here the application itself, through a front door.
import { equal, made, next, thrown, utf8 } from "./check.js";

export const uses = {
  async EventSource(peer) {
    const source = new EventSource(`${peer}/events`);
    equal([source.readyState, source.url, source.withCredentials], [EventSource.CONNECTING, `${peer}/events`, false]);
    await next(source, "open");
    const [unnamed, named] = await Promise.all([next(source, "message"), next(source, "named")]);
    equal([unnamed.data, unnamed.lastEventId, named.data, named.lastEventId], ["one\nline", "1", "two", "1"]);
    source.close();
    equal(source.readyState, EventSource.CLOSED);
  },
  async WebSocket(peer) {
    const url = peer.replace("http:", "ws:");
    const socket = new WebSocket(`${url}/socket`, ["chat", "other"]);
    socket.binaryType = "arraybuffer";
    equal([socket.readyState, socket.url, socket.bufferedAmount], [WebSocket.CONNECTING, `${url}/socket`, 0]);
    equal(await thrown(() => socket.send("too early")), "InvalidStateError");
    await next(socket, "open");
    equal([socket.readyState, socket.protocol], [WebSocket.OPEN, "chat"]);
    const echo = async (data) => {
      socket.send(data);
      return (await next(socket, "message")).data;
    };
    equal(await echo("text ä"), "text ä");
    equal([...new Uint8Array(await echo(utf8("bytes")))], [...utf8("bytes")]);
    equal([...new Uint8Array(await echo(utf8("buffer").buffer))], [...utf8("buffer")]);
    equal([...new Uint8Array(await echo(new Blob(["blob"])))], [...utf8("blob")]);
    const large = "0123456789".repeat(100_000);
    equal(await echo(large) === large, true);
    socket.binaryType = "blob";
    equal(await (await echo(utf8("blob"))).text(), "blob");
    const closed = next(socket, "close");
    socket.close(4001, "enough");
    equal(socket.readyState, WebSocket.CLOSING);
    const { code, reason, wasClean } = await closed;
    equal([code, reason, wasClean, socket.readyState], [4001, "enough", true, WebSocket.CLOSED]);

    const other = new WebSocket(`${url}/socket`);
    const order = [];
    other.onopen = () => other.send("close me");
    await new Promise((resolve) => other.onclose = ({ code, reason }) => resolve(order.push(code, reason)));
    equal(order, [4002, "as asked"]);
    const refused = new WebSocket(`${url}/echo`);
    const events = [];
    refused.onerror = ({ type }) => events.push(type);
    await new Promise((resolve) => refused.onclose = ({ code, wasClean }) => resolve(events.push(code, wasClean)));
    equal(events, ["error", 1006, false]);
    equal(await thrown(() => new WebSocket("ftp://a")), "SyntaxError");
    equal(await thrown(() => new WebSocket(url, ["a", "a"])), "SyntaxError");
  },
  async fetch(peer) {
    const echo = `${peer}/echo`;
    const response = await fetch(echo, { method: "POST", body: "text", headers: { "x-a": "1" } });
    made(response, Response);
    equal([response.status, response.headers.get("x-a"), response.url, await response.text()], [200, "1", echo, "text"]);
    const form = new FormData();
    form.set("a", new Blob(["b"]));
    equal((await (await fetch(echo, { method: "POST", body: form })).formData()).get("a").size, 1);
    const body = ReadableStream.from(["in ", "parts"]).pipeThrough(new TextEncoderStream());
    equal(await (await fetch(new Request(echo, { method: "POST", body, duplex: "half" }))).text(), "in parts");
    const moved = await fetch(`${peer}/moved`);
    equal([moved.redirected, moved.url], [true, echo]);
    equal(await thrown(() => fetch(`${peer}/moved`, { redirect: "error" })), "TypeError");
    const controller = new AbortController();
    const aborted = fetch(`${peer}/never`, { signal: controller.signal });
    controller.abort();
    equal(await thrown(() => aborted), "AbortError");
    equal(await (await fetch("data:text/plain;base64,aGVsbG8=")).text(), "hello");
    equal(await thrown(() => fetch("http://127.0.0.1:1/")), "TypeError");
  },
};
