// The WebSocket that connects to others: the platform's, with a mistake of it mended.
import { core } from "ext:core/mod.js";
// Imported, not loaded with `createLazyLoader`: deno_core drops the source of what that loads while the snapshot is made, and
// functions are compiled from it when they are first called.
import { WebSocket } from "ext:deno_websocket/01_websocket.js";

const { CloseEvent, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { dispatchEvent } = EventTarget.prototype;

// A connection that failed closes with code 1006 (WebSockets standard, section 4, and RFC 6455 section 7.1.5); its event says 0.
core.defineGlobalProperties(WebSocket.prototype, {
  dispatchEvent: core.propNonEnumerable(function (event) {
    const failed = event instanceof CloseEvent && event.type === "close" && event.code === 0 && this.readyState === WebSocket.CLOSED;
    return dispatchEvent.call(this, failed ? new CloseEvent("close", { code: 1006 }) : event);
  }),
});

export { WebSocket };
