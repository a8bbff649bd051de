// Objects that do not answer as they should.

const bad = (path) => async (env, _ctx, t) => {
  const stub = env.BAD.getByName(t.name);
  await t.try("fetch", async () => {
    const response = await stub.fetch(`http://object${path}`);
    return [response.status, await response.text()];
  });
};

export const errors = {
  "error: a class without fetch": (env, _ctx, t) =>
    t.try("fetch", () => env.NO_FETCH.getByName(t.name).fetch("http://object/")),
  "error: fetch returns undefined": bad("/undefined"),
  "error: fetch returns text": bad("/text"),
  "error: fetch returns an object": bad("/object"),
  "error: fetch returns a response that was read": bad("/used"),
  "error: fetch returns Response.error()": bad("/error"),
  "error: fetch throws": bad("/throw"),
  "error: fetch aborts": bad("/abort"),
};
