// One topic. It keeps nothing: a message goes to whoever listens at that moment.

const subscribers = new Set();

function broadcast(message) {
  for (const port of subscribers) {
    try {
      port.postMessage(message);
    } catch {
      // Its queue is full. Dropping the one that cannot keep up keeps the topic fast for the others.
      subscribers.delete(port);
      port.close();
    }
  }
}

export default {
  connect(event) {
    const [port] = event.ports;
    // A port that outlived a move of this worker was a subscriber's: publishers' live for one request.
    if (event.reconnected) subscribers.add(port);

    port.onmessage = ({ data: { type, id, data } }) => {
      switch (type) {
        case "subscribe":
          subscribers.add(port);
          port.postMessage({ type: "subscribed", topic: self.name });
          break;
        case "publish":
          broadcast({ type: "message", id, data });
          port.postMessage({ type: "published", id, subscribers: subscribers.size });
          break;
        case "count":
          port.postMessage({ type: "count", subscribers: subscribers.size });
          break;
      }
    };
    port.onclose = () => subscribers.delete(port);
  },
};
