// The application's static assets, as `env` has them.
(function () {
const { core, primordials } = __bootstrap;
const { TypeError } = primordials;
const { currentActor, requestNumber } = core.loadExtScript("ext:portside/context.js");
const { exchange } = core.loadExtScript("ext:portside/parts/calls.js");
const { fetchBy } = core.loadExtScript("ext:portside/parts/fetcher.js");
const { serviceOf } = core.loadExtScript("ext:portside/parts/loopback.js");
const { op_assets_fetch } = core.ops;

function once(sent, signal) {
  return exchange(sent, signal, (...parts) => op_assets_fetch(currentActor(), requestNumber(), ...parts));
}

/** A stub of the service that assets are. It has no methods. */
function assets() {
  return serviceOf((args) => fetchBy(args, once), async (path) => {
    throw new TypeError(`The RPC receiver does not implement the method "${path.at(-1)}".`);
  });
}

return { assets };
})();
