// The application that scripts/wpt runs. Its server hands each test to a worker of the test's own, so that no test sees
// what another left behind, and answers with what the harness of the web platform tests found out.

export default {
  async fetch(request) {
    const test = await request.json();
    const { port } = new ServerlessWorker("./wpt.js", test.url);
    return new Promise((resolve) => {
      port.onmessage = ({ data }) => resolve(Response.json(data));
      port.onclose = ({ code }) => resolve(Response.json({ lost: `the instance is gone: ${code}` }));
      port.postMessage(test);
    });
  },

  connect({ ports: [port] }) {
    port.onmessage = ({ data }) =>
      run(data, port).catch((error) => port.postMessage({ lost: `the test did not start: ${error?.stack}` }));
    port.onclose = () => self.terminate();
  },
};

/** Runs the test at `url`, after its `scripts`, as a browser's dedicated worker would, and posts its results. */
async function run({ url, harness, scripts, seconds }, port) {
  const [testharness, ...sources] = await Promise.all([harness, ...scripts, url].map(readScript));
  const test = sources.pop();

  hide("location", locationOf(url.replace(/\.any\.js(?=$|\?)/, ".any.worker.js")));
  hide("GLOBAL", { isWindow: () => false, isWorker: () => true, isShadowRealm: () => false });
  resolveRelativeUrls(self.location.href);

  // They are classic scripts that share each other's top-level `const`s, so they are evaluated as one. If that were
  // strict, no function of it would be global: so a helper's "use strict" is made void, and a strict test gets a scope.
  const evaluate = eval;
  evaluate(testharness);
  pretendToBeDedicatedWorker();
  const timer = setTimeout(self.timeout, seconds * 1000);
  self.add_completion_callback((tests, { status, message }) => {
    clearTimeout(timer);
    port.postMessage({ status, message, tests: tests.map(({ name, status, message }) => ({ name, status, message })) });
  });
  try {
    const last = isStrict(test) ? `(function () {${test}\n}).call(globalThis)` : test;
    evaluate(`${["", ...sources, last].join("\n;\n")}\n//# sourceURL=${url}`);
    if (!isWorkerScript(url)) self.done();
  } catch (error) {
    reportError(error); // which is how the harness hears of it in a browser
  }
}

async function readText(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
}

/** A script from WPT's server. In a *.worker.js, importScripts(…), which Portside lacks, becomes what it names. */
async function readScript(url) {
  const source = await readText(url);
  if (!isWorkerScript(url)) return source;
  const calls = /^importScripts\((.*)\);?/gm;
  const imported = await Promise.all([...source.matchAll(calls)].map(async ([, list]) => {
    const urls = list.split(",").map((quoted) => new URL(quoted.trim().slice(1, -1), url).href);
    const texts = await Promise.all(urls.filter((url) => !url.endsWith("/testharness.js")).map(readText));
    return texts.join("\n;\n");
  }));
  return source.replace(calls, () => imported.shift());
}

/** Whether it does itself what WPT puts around a *.any.js. */
function isWorkerScript(url) {
  return new URL(url).pathname.endsWith(".worker.js");
}

/** Whether a script begins, after its comments, with the directive that makes it strict. */
function isStrict(source) {
  return /^(\s|\/\/.*|\/\*[^]*?\*\/|;)*(["'])use strict\2/.test(source);
}

/** A worker's `location`. */
function locationOf(url) {
  const { href, origin, protocol, host, hostname, port, pathname, search, hash } = new URL(url);
  return { href, origin, protocol, host, hostname, port, pathname, search, hash, toString: () => href };
}

/** Defines a global as the platform does, not enumerable. */
function hide(name, value) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/**
 * Tests name their resources relative to themselves, but nothing in Portside has a base URL. A URL that is not absolute
 * is made so on its way in; everything else goes to the surface as it came. Identities and prototypes stay consistent.
 */
function resolveRelativeUrls(base) {
  const { Request, URL } = globalThis;
  const absolute = ([input, ...rest]) => {
    if (input instanceof Request) return [input, ...rest];
    let text;
    try {
      text = `${input}`;
    } catch {
      return [input, ...rest]; // for the surface to refuse
    }
    return [!URL.canParse(text) && URL.canParse(text, base) ? new URL(text, base).href : text, ...rest];
  };
  const traps = {
    apply: (target, self, args) => Reflect.apply(target, self, args.length === 0 ? args : absolute(args)),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? args : absolute(args), newTarget),
  };
  const wrap = (object, name) => {
    const original = object[name];
    const wrapped = new Proxy(original, traps);
    const { prototype } = original;
    if (prototype !== undefined) Object.defineProperty(prototype, "constructor", { value: wrapped });
    Object.defineProperty(object, name, { value: wrapped });
  };
  wrap(Response, "redirect");
  for (const name of ["EventSource", "Request", "WebSocket", "fetch"]) wrap(globalThis, name);
}

/** Tests of interfaces ask what kind of global this is, and know no answer but the browser's. */
function pretendToBeDedicatedWorker() {
  for (const name of ["WorkerGlobalScope", "DedicatedWorkerGlobalScope"]) {
    if (name in globalThis) continue;
    hide(name, class { static [Symbol.hasInstance] = (object) => object === globalThis; });
  }
}
