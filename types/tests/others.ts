// What the declarations beside the standard let pass, and what not.

import sql from "./schema.sql";
import bytes from "./data.bin";

[sql satisfies string, bytes.byteLength];

interface Env {
  GREETING: string;
}

export default {
  async fetch(request, env, ctx) {
    const { 0: client, 1: socket } = new WebSocketPair();
    const [, other] = new WebSocketPair();
    other?.accept({ allowHalfOpen: true });
    socket.accept();
    socket.onmessage = ({ data }) => socket.send(`${env.GREETING} ${data}`);
    socket.addEventListener("close", ({ code, reason }) => socket.close(code, reason));
    // @ts-expect-error: an object cannot be sent
    socket.send({});
    if (socket.readyState === socket.OPEN) socket.serializeAttachment({ url: request.url });
    ctx.waitUntil(scheduler.wait(5, { signal: request.signal }));
    const { readable } = new FixedLengthStream(3);
    new Response(readable.pipeThrough(new IdentityTransformStream()));
    const answer = new Response(null, { status: 101, webSocket: client, reconnects: !request.reconnected });
    answer.webSocket?.accept();
    return answer;
  },
} satisfies ServerHandlers<Env>;

// @ts-expect-error: a server needs fetch
({}) satisfies ServerHandlers;
