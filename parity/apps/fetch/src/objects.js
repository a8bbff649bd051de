// Objects that answer requests.

import { DurableObject } from "cloudflare:workers";

const encoder = new TextEncoder();

const answers = {
  /** What arrived, as JSON. */
  async "/echo"(request) {
    const { method, url, redirect, cf, bodyUsed, body } = request;
    const headers = [...request.headers].filter(([name]) => !["cf-connecting-ip", "host", "connection"].includes(name));
    const told = {
      method,
      url,
      redirect,
      cf: cf === undefined ? "undefined" : typeof cf,
      bodyUsed,
      hasBody: body !== null,
    };
    return Response.json({ ...told, headers, body: await request.text() });
  },
  "/raw-headers": (request) => Response.json([...request.headers.keys()].sort()),
  "/status": (_request, { searchParams }) => {
    const status = Number(searchParams.get("status"));
    return new Response([101, 204, 205, 304].includes(status) ? null : "body", {
      status,
      statusText: searchParams.get("text") ?? "",
    });
  },
  "/headers": () =>
    new Response("body", {
      headers: [
        ["x-one", "1"],
        ["x-two", "a"],
        ["x-two", "b"],
        ["set-cookie", "a=1"],
        ["set-cookie", "b=2"],
        ["content-length", "4"],
      ],
    }),
  "/json": () => Response.json({ a: 1 }),
  "/empty": () => new Response(),
  "/null": () => new Response(null),
  "/redirect": (_request, { searchParams }) =>
    Response.redirect("http://object/echo?from=redirect", Number(searchParams.get("status"))),
  "/relative-redirect": () => new Response(null, { status: 302, headers: { location: "/echo?relative" } }),
  "/loop": () => Response.redirect("http://object/loop", 302),
  "/stream"() {
    const { readable, writable } = new TransformStream();
    (async () => {
      const writer = writable.getWriter();
      for (const part of ["one ", "two ", "three"]) {
        await writer.write(encoder.encode(part));
        await scheduler.wait(5);
      }
      await writer.close();
    })();
    return new Response(readable);
  },
  "/fixed-length"() {
    const { readable, writable } = new FixedLengthStream(3);
    const writer = writable.getWriter();
    writer.write(encoder.encode("abc"));
    writer.close();
    return new Response(readable);
  },
  "/pull"() {
    let n = 0;
    const source = {
      pull(controller) {
        if (n++ < 3) controller.enqueue(encoder.encode(`${n}`));
        else controller.close();
      },
    };
    return new Response(new ReadableStream(source));
  },
  "/broken-stream"() {
    let n = 0;
    const source = {
      async pull(controller) {
        if (n++ === 0) return controller.enqueue(encoder.encode("begin "));
        await scheduler.wait(20);
        controller.error(new RangeError("broken"));
      },
    };
    return new Response(new ReadableStream(source));
  },
  "/big": (_request, { searchParams }) => new Response(new Uint8Array(Number(searchParams.get("size")))),
  "/size": async (request) => Response.json((await request.arrayBuffer()).byteLength),
  async "/parts"(request) {
    const parts = [];
    for await (const part of request.body) parts.push(new TextDecoder().decode(part));
    return Response.json(parts.join(""));
  },
  async "/form"(request) {
    const form = await request.formData();
    return Response.json(
      await Promise.all(
        Array.from(form, async ([key, value]) => [key, typeof value === "string" ? value : await value.text()]),
      ),
    );
  },
  "/body": (request) => new Response(request.body),
  "/unread": () => new Response("did not read"),
  "/gzip": () => new Response("compressed?", { headers: { "content-encoding": "identity" } }),
  async "/slow"() {
    await scheduler.wait(300);
    return new Response("slow");
  },
  "/url": (request) => new Response(request.url),
};

export class Server extends DurableObject {
  async fetch(request) {
    const url = new URL(request.url);
    return (answers[url.pathname] ?? answers["/echo"])(request, url);
  }
}

export class NoFetch extends DurableObject {}

/** Answers with what is no Response. */
export class Bad extends DurableObject {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/undefined":
        return undefined;
      case "/text":
        return "text";
      case "/object":
        return { status: 200 };
      case "/used": {
        const response = new Response("used");
        await response.text();
        return response;
      }
      case "/abort":
        return this.ctx.abort("in fetch");
      case "/error":
        return Response.error();
      default:
        throw new Error("in fetch");
    }
  }
}
