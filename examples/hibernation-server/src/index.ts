// WebSockets that stay open while the object behind them sleeps.
//
//   GET /             what there is
//   GET /websocket    a WebSocket to the one object; see README.md for what it answers

import type { HibernationServer } from "./server.ts";

export { HibernationServer } from "./server.ts";

export interface Env {
  SERVERS: DurableObjectNamespace<HibernationServer>;
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response("/websocket: a WebSocket\n");
    if (pathname !== "/websocket") return problem(404, "use /websocket");
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return problem(426, "open this address as a WebSocket", { upgrade: "websocket" });
    }
    return env.SERVERS.getByName("all").fetch(request);
  },
} satisfies ExportedHandler<Env>;

function problem(status: number, error: string, headers = {}) {
  return Response.json({ error }, { status, headers });
}
