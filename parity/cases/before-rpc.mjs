// Clients' sockets, under a compatibility date from before their compression.

import { Socket } from "../lib/client.mjs";

export const cases = {
  "client: compression": async (server, t) => {
    const socket = await Socket.open(`${server.url}/socket`, [], { perMessageDeflate: true });
    t.log("extensions", socket.socket.extensions);
    t.log("event", await socket.ask("text"));
    socket.cut();
  },
};
