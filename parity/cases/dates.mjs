// Clients' sockets, under an older compatibility date.

import { Socket } from "../lib/client.mjs";

const open = (server, t, what) => Socket.open(`${server.url}/${encodeURIComponent(t.name)}/${what}`);

const closed = (what) => async (server, t) => {
  const socket = await open(server, t, what);
  t.log("text", await socket.ask("text"));
  t.log("bytes", await socket.ask(new Uint8Array([1])));
  socket.close(4000, "why");
  t.log("event", await socket.next(1000));
  t.log("log", JSON.parse((await server.fetch(`/${encodeURIComponent(t.name)}/log`)).body));
  socket.cut();
};

export const cases = {
  "client: closes a socket that nobody answers for": closed("silent"),
  "client: closes a socket that is answered for": closed("answers"),
  "client: closes a socket that the runtime keeps": closed("kept"),
};
