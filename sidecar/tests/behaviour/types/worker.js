// What a worker sees of each type that types/ declares.
import { events, globals, members, options, statics, watched } from "./looks.js";

const handlers = new Set();
const alarmed = Promise.withResolvers();

/** What one event of a port that is opened to this script has. */
function heard(script, type, begin) {
  const { port } = new ServerlessWorker(script);
  const { promise, resolve } = Promise.withResolvers();
  port.addEventListener(type, resolve);
  begin(port);
  return promise;
}

async function ports(event) {
  const error = await heard("./broken.js", "error", (port) => port.start());
  return {
    ServerlessWorker: members(new ServerlessWorker("./other.js")),
    ServerlessWorkerOptions: await options((options) => new ServerlessWorker("./other.js", options)),
    ServerlessWorkerPort: members(event.ports[0]),
    ServerlessWorkerPortEventMap: events(event.ports[0]),
    ServerlessWorkerMessageOptions: await options((options) => new ServerlessWorker("./other.js").port.postMessage(1, options)),
    ServerlessWorkerCloseEvent: members(await heard("./other.js", "close", (port) => port.postMessage("close"))),
    ServerlessWorkerErrorEvent: members(error),
    ServerlessWorkerPortError: members(error.error),
    ServerlessWorkerOverloadedError: members(new ServerlessWorkerOverloadedError()),
    ServerlessWorkerOverloadedErrorOptions: await options((options) => new ServerlessWorkerOverloadedError("", options)),
    ConnectEvent: members(event),
  };
}

async function kept() {
  const transaction = await storage.transaction((transaction) => members(transaction));
  await storage.setAlarm(Date.now());
  return {
    WorkerStorage: members(storage),
    WorkerTransaction: transaction,
    WorkerKeys: transaction.filter((name) => members(storage).includes(name)),
    WorkerListOptions: await options((options) => storage.list(options)),
    AlarmInfo: members(await alarmed.promise),
    WorkerHandlers: [...handlers],
  };
}

async function others() {
  const [socket] = new WebSocketPair();
  return {
    WebSocketPair: members(new WebSocketPair()),
    PairedWebSocket: members(socket),
    PairedWebSocketEventMap: events(socket),
    PairedWebSocketAcceptOptions: await options((options) => socket.accept(options)),
    Request: members(new Request("http://a/")),
    Response: members(new Response()),
    ResponseInit: await options((options) => new Response(null, options)),
    WebSocketRequestResponsePair: members(new WebSocketRequestResponsePair("", "")),
    Scheduler: members(scheduler),
    SchedulerWaitOptions: await options((options) => scheduler.wait(0, options)),
    IdentityTransformStream: members(new IdentityTransformStream()),
    FixedLengthStream: members(new FixedLengthStream(1)),
    ServiceWorkerGlobalScope: members(globalThis),
  };
}

/** What the types that others extend have themselves. */
const bases = {
  Error: members(new Error("")),
  ErrorEvent: members(new ErrorEvent("")),
  Event: members(new Event("")),
  EventTarget: members(new EventTarget()),
  TransformStream: members(new TransformStream()),
};

async function report(event) {
  const types = { ...bases, ...await ports(event), ...await kept(), ...await others() };
  const own = { ServerlessWorker, ServerlessWorkerOverloadedError, WebSocketPair, WebSocketRequestResponsePair };
  Object.assign(own, { IdentityTransformStream, FixedLengthStream });
  const ofClasses = Object.fromEntries(Object.entries(own).map(([name, value]) => [name, statics(value)]));
  return { types, statics: ofClasses, globals: globals() };
}

const exported = {
  connect(event) {
    event.ports[0].onmessage = async () => event.ports[0].postMessage(await report(event));
  },
  alarm: alarmed.resolve,
};
export default watched(exported, handlers);
