// Sends back what it gets: WebSocket messages, and bodies after a moment. h2spec sends what is wrong right behind a request: an
// answer that is faster ends the stream, rightly, and what comes after that is ignored, rightly, but h2spec waits for a complaint.
const THINKS_FOR = 100;

export default {
  async fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") {
      await new Promise((resolve) => setTimeout(resolve, THINKS_FOR));
      return new Response(request.body ?? "hello\n");
    }
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(data));
    return new Response(null, { status: 101, webSocket: client });
  },
};
