// Counters over HTTP: GET reads one, POST adds to it.

import type { Answer, Question } from "./protocol.ts";

const ROUTE = /^\/counters\/([\w.-]{1,100})$/;

export default {
  async fetch(request: Request): Promise<Response> {
    const name = ROUTE.exec(new URL(request.url).pathname)?.[1];
    if (name === undefined) return problem(404, "use /counters/<name>");

    let question: Question;
    switch (request.method) {
      case "GET":
        question = { type: "read" };
        break;
      case "POST": {
        const by = amount(await request.text());
        if (by === undefined) return problem(400, 'the body must be empty or {"by": integer}');
        question = { type: "add", by };
        break;
      }
      default:
        return problem(405, "only GET and POST are served here", { allow: "GET, POST" });
    }

    try {
      const answer = await ask(new ServerlessWorker("./counter.ts", name), question);
      return "error" in answer ? problem(409, answer.error) : Response.json(answer);
    } catch (error) {
      console.error("no answer from the counter:", error);
      return problem(503, "try again in a moment", { "retry-after": "1" });
    }
  },
};

/** How much a POST adds: 1 for an empty body, `undefined` for a bad one. */
function amount(body: string): number | undefined {
  if (body === "") return 1;
  try {
    const by: unknown = JSON.parse(body)?.by;
    return Number.isSafeInteger(by) ? (by as number) : undefined;
  } catch {
    return undefined;
  }
}

/** One question, one answer, over a port of its own. */
function ask(worker: ServerlessWorker, question: Question): Promise<Answer> {
  const { port } = worker;
  return new Promise<Answer>((resolve, reject) => {
    port.onmessage = (event) => resolve(event.data as Answer);
    port.onclose = () => reject(new Error("the worker went away before it answered"));
    port.postMessage(question);
  }).finally(() => port.close());
}

function problem(status: number, error: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error }, { status, headers });
}
