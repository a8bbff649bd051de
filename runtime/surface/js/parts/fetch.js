// fetch, with failures that say what failed and with our settings in place of Deno's.
(function () {
const { core, primordials } = __bootstrap;
const { Error, TypeError } = primordials;
const { explained } = core.loadExtScript("ext:portside/parts/network.js");
const { ops } = core;

// What is denied fails as what cannot be reached does.
const { op_fetch } = ops;
ops.op_fetch = (...given) => {
  try {
    return op_fetch(...given);
  } catch (error) {
    if (error?.name !== "NotCapable") throw error;
    throw new TypeError(`fetch failed: ${explained(error.message)}`);
  }
};

/** Why there is no response: where it was to come from, but not the path, which may hold a secret, and the cause. */
function failure([detail, cause]) {
  const origin = / for (?:url \()?(\w+:\/\/[^/?#\s)]+)/.exec(detail)?.[1];
  const why = explained(cause.replace(/^error sending request (?:from \S+ )?for (?:url \(\S*\)|\S+ \(\S+\)): /, ""));
  return new TypeError(`fetch failed: ${origin === undefined ? "" : `${origin}: `}${why}`, { cause: new Error(why) });
}

// The bytes of a Location are UTF-8, as of the URL standard; as a header of JavaScript each is a character.
const { op_fetch_send } = ops;
ops.op_fetch_send = async (request) => {
  const response = await op_fetch_send(request);
  if (response.error !== null) throw failure(response.error);
  for (const header of response.headers) {
    if (/^location$/i.test(header[0])) {
      header[1] = header[1].replace(/[^\0-\x7f]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
    }
  }
  return response;
};

return core.loadUnmended("ext:deno_fetch/26_fetch.js");
})();
