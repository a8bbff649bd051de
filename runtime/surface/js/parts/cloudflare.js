// The module "cloudflare:workers". deno_core loads it itself, and so not with what parts are given.
(function () {
const { load } = __bootstrap.internals;
const { DurableObject, RpcTarget, WorkerEntrypoint } = load("ext:portside/parts/entrypoints.js");
const { waitUntil } = load("ext:portside/lifecycle.js");
const { env, exports } = load("ext:portside/env.js").wanted();
return { DurableObject, env, exports, RpcTarget, waitUntil, WorkerEntrypoint };
})();
