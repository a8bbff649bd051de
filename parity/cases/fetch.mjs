// Requests of clients that a Worker hands on to an object.

const asked = (target, options, read) => async (server, t) => {
  await t.try("answer", async () => {
    const response = await server.fetch(target, options);
    return read(response);
  });
};

/** Clients' requests have headers and a host that are not the same for two servers. */
const essential = ({ status, body }) => {
  const { method, url, headers, body: sent } = JSON.parse(body);
  const own = headers.filter(([name]) => name.startsWith("x-") || name === "content-type");
  return { status, method, path: url.replace(/^http:\/\/[^/]*/, ""), own, sent };
};

export const cases = {
  "client: GET": asked("/a/b?c=d", {}, essential),
  "client: POST": asked(
    "/echo",
    { method: "POST", headers: { "content-type": "text/x", "x-mine": "1" }, body: "body" },
    essential,
  ),
  "client: a path that needs escapes": asked("/%C3%BC/a%20b?q=%2F", {}, essential),
  "client: two slashes": asked("//a//b", {}, ({ status }) => status),
  "client: host": asked("/url", { headers: { host: "example.org" } }, ({ body }) => body),
  "client: status and headers of the answer": asked("/headers", {}, ({ status, headers, body }) => ({
    status,
    one: headers["x-one"],
    two: headers["x-two"],
    cookies: headers["set-cookie"],
    body,
  })),
  "client: 204": asked("/status?status=204", {}, ({ status, body }) => [status, body]),
  "client: a redirect": asked("/redirect?status=302", {}, ({ status, headers }) => [status, headers.location]),
  "client: a stream": asked("/stream", {}, ({ status, body }) => [status, body]),
  "client: HEAD": asked("/json", { method: "HEAD" }, ({ status, headers, body }) => [
    status,
    headers["content-type"],
    body,
  ]),
  "client: a stream that breaks": asked("/broken-stream", {}, ({ status, body }) => [status, body]),
};
