// Sends back what it gets: WebSocket messages, and bodies.
export default {
  fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") return new Response(request.body ?? "hello\n");
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(data));
    return new Response(null, { status: 101, webSocket: client });
  },
};
