// Tells what its worker sees, and what only a server does.
import { globals, members, watched } from "./looks.js";

const handlers = new Set();

const exported = {
  async fetch(_request, _env, ctx) {
    const { port } = new ServerlessWorker("./worker.js");
    const { promise, resolve, reject } = Promise.withResolvers();
    port.onmessage = ({ data }) => resolve(data);
    port.onclose = () => reject(new Error("the worker ended"));
    port.onerror = ({ error }) => reject(error);
    port.postMessage("report");
    const report = await promise;
    Object.assign(report.types, { ExecutionContext: members(ctx), ServerHandlers: [...handlers] });
    Object.assign(report.globals, globals());
    return Response.json(report);
  },
};
export default watched(exported, handlers);
