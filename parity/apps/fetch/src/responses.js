// What comes back.

export const responses = {};

const get = (path, read, init) => async (env, _ctx, t) => {
  await t.try("response", async () => read(await env.SERVER.getByName(t.name).fetch(`http://object${path}`, init)));
};

for (const status of [200, 201, 204, 205, 299, 304, 400, 404, 418, 500, 503, 599]) {
  responses[`response: status ${status}`] = get(`/status?status=${status}`, async (response) => {
    const { status, statusText, ok, redirected, type } = response;
    return { status, statusText, ok, redirected, type, hasBody: response.body !== null, text: await response.text() };
  });
}

Object.assign(responses, {
  "response: a statusText of its own": get("/status?status=200&text=Fine", ({ statusText }) => statusText),
  "response: headers": get("/headers", ({ headers }) => ({
    all: [...headers],
    cookies: headers.getSetCookie(),
    two: headers.get("x-two"),
  })),
  "response: headers can be changed": get("/headers", ({ headers }) => {
    headers.set("x-one", "2");
    return headers.get("x-one");
  }),
  "response: JSON": get("/json", async (response) => [response.headers.get("content-type"), await response.json()]),
  "response: without a body": get("/empty", async (response) => [
    response.body === null,
    [...response.headers],
    await response.text(),
  ]),
  "response: with null as its body": get("/null", async (response) => [response.body === null, [...response.headers]]),
  "response: its url": get("/json", ({ url, redirected }) => [url, redirected]),
  "response: a stream": get("/stream", (response) => response.text()),
  "response: a stream of a fixed length": get("/fixed-length", async (response) => [
    response.headers.get("content-length"),
    await response.text(),
  ]),
  "response: a stream that is pulled": get("/pull", (response) => response.text()),
  "response: a stream that breaks": get("/broken-stream", async (response) => {
    const reader = response.body.getReader();
    const seen = [];
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return [...seen, "done"];
        seen.push(new TextDecoder().decode(value));
      }
    } catch (error) {
      return [...seen, error];
    }
  }),
  "response: a stream that is cancelled": get("/stream", async (response) => {
    const reader = response.body.getReader();
    await reader.read();
    return reader.cancel("enough");
  }),
  "response: a stream that nobody reads": get("/stream", ({ status }) => status),
  "response: 1 MiB": get("/big?size=1048576", async (response) => (await response.arrayBuffer()).byteLength),
  "response: 32 MiB": get("/big?size=33554432", async (response) => {
    let size = 0;
    for await (const part of response.body) size += part.byteLength;
    return size;
  }),
  "response: to HEAD": get(
    "/json",
    async (response) => [response.status, [...response.headers], await response.text()],
    { method: "HEAD" },
  ),
  "response: a redirect that is followed": get("/redirect?status=302", async (response) => [
    response.redirected,
    response.url,
    (await response.json()).url,
  ]),
  "response: a redirect of a POST with 303": get(
    "/redirect?status=303",
    async (response) => (await response.json()).method,
    { method: "POST", body: "x" },
  ),
  "response: a redirect of a POST with 307": get(
    "/redirect?status=307",
    async (response) => {
      const { method, body } = await response.json();
      return [method, body];
    },
    { method: "POST", body: "x" },
  ),
  "response: a redirect that is not followed": get(
    "/redirect?status=302",
    ({ status, headers }) => [status, headers.get("location")],
    { redirect: "manual" },
  ),
  "response: a redirect that is an error": get("/redirect?status=302", ({ status }) => status, { redirect: "error" }),
  "response: a relative redirect": get("/relative-redirect", async (response) => (await response.json()).url),
  "response: redirects without end": get("/loop", ({ status }) => status),
  "response: content-encoding": get("/gzip", async (response) => [
    response.headers.get("content-encoding"),
    await response.text(),
  ]),
});
