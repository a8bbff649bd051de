// What the workers under test talk to.
const streamed = (...pieces) =>
  new ReadableStream({
    async start(controller) {
      for (const piece of pieces) {
        controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  });

let seen;

export const peers = {
  echo: ({ body, headers }) => new Response(body, { headers: { "content-type": headers.get("content-type") ?? "" } }),
  // The bytes of a UTF-8 location, as a header of JavaScript carries bytes.
  moved: () => new Response(null, { status: 302, headers: { location: unescape(encodeURIComponent("path?grüße=ж")) } }),
  path: ({ url }) => new Response(url),
  events: (request) => {
    seen = request.headers.get("cache-control");
    return new Response(streamed("data: one\r", "\rdata: two\r\r"), { headers: { "content-type": "text/event-stream" } });
  },
  seen: () => new Response(seen),
  socket: async () => {
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    const told = [server.binaryType, server.bufferedAmount];
    server.onmessage = ({ data }) => {
      if (data === "blobs") server.binaryType = "blob";
      else if (data === "invalid") server.binaryType = "text";
      else if (data === "send") {
        server.send(new Blob(["a blob", new Uint8Array([1])]));
        server.send("behind it");
      } else server.send(JSON.stringify([told, server.binaryType, Object.prototype.toString.call(data)]));
    };
    return new Response(null, { status: 101, webSocket: client });
  },
};
