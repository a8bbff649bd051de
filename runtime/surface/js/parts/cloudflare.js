// The module "cloudflare:workers". deno_core loads it itself, and so not with what parts are given.
(function () {
const { load } = __bootstrap.internals;
const { DurableObject, RpcTarget, WorkerEntrypoint, WorkflowEntrypoint } = load("ext:portside/parts/entrypoints.js");
const { waitUntil } = load("ext:portside/lifecycle.js");
const { wanted, withEnv } = load("ext:portside/env.js");
const { env, exports } = wanted();

/** What others' functions and objects are called by. Nobody else can make one. */
class RpcStub {
  constructor() {
    throw new TypeError("functions and objects cannot be passed by reference yet");
  }
}

return { DurableObject, env, exports, RpcStub, RpcTarget, waitUntil, WorkerEntrypoint, withEnv, WorkflowEntrypoint };
})();
