// Classes that do not extend DurableObject, with and without SQLite, in a Worker that is a class.

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

import { inside, perform, serve } from "./parity/parity.js";
import { cases } from "./cases.js";
import { inObject } from "./inside.js";

export { Strange } from "./cases.js";

class Base {
  calls = 0;

  constructor(state, env) {
    this.state = state;
    // As `perform` wants it. A class that extends nothing has no properties but its own.
    this.ctx = state;
    this.env = env;
  }

  async fetch(request) {
    const url = new URL(request.url);
    if (url.searchParams.has("name")) return perform(inObject, this, request);
    switch (url.pathname) {
      case "/socket": {
        const [client, socket] = Object.values(new WebSocketPair());
        this.state.acceptWebSocket(socket, ["tag"]);
        return new Response(null, { status: 101, webSocket: client });
      }
      case "/throw":
        throw new RangeError("in fetch");
      case "/abort":
        return this.state.abort("in fetch");
      default:
        return Response.json({
          calls: ++this.calls,
          alarms: await this.state.storage.get("alarms"),
          name: this.state.id.name,
        });
    }
  }

  async alarm(info) {
    await this.state.storage.put("alarms", [
      ...((await this.state.storage.get("alarms")) ?? []),
      Object.keys(info ?? {}).length,
    ]);
  }

  webSocketMessage(socket, message) {
    socket.send(`${this.state.getTags(socket)} ${message}`);
  }

  webSocketClose(socket, code) {
    socket.close(code, "legacy");
  }

  method() {
    return "method";
  }

  get getter() {
    return "getter";
  }
}

export class Bare extends Base {}

export class BareKv extends Base {}

export class Modern extends DurableObject {
  method() {
    return "method";
  }
}

const { fetch } = serve({
  ...cases,
  ...inside("BARE", inObject, "with SQLite: "),
  ...inside("BARE_KV", inObject, "without SQLite: "),
});

export default class extends WorkerEntrypoint {
  fetch(request) {
    return fetch(request, this.env, this.ctx);
  }

  /** Nobody outside can call it. */
  hello() {
    return "hello";
  }
}
