// A server under test: workerd or `portside dev`, with one application and a state folder of its own.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chown, cp, mkdir, open, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import workerd from "workerd";

import { request } from "./client.mjs";
import { readWrangler, workerdConfig } from "./wrangler.mjs";

const HERE = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
/** How long a server may take until it listens. */
const START_LIMIT = 60_000;
/** How long one may take to end before it is killed; workerd waits for open connections. */
const STOP_LIMIT = 5_000;
/** Who runs Portside's pods if this is root, as whom Postgres does not run: nobody. */
const NOBODY = 65_534;

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** An application on a server. Its `kind` is "workerd" or "portside". */
export class Server {
  #kind;
  #portside;
  #pods;
  #folder;
  #child;

  /** Where it listens, as `http://127.0.0.1:PORT`: another one after each start. */
  url;

  constructor(kind, portside, pods, folder) {
    this.#kind = kind;
    this.#portside = portside;
    this.#pods = pods;
    this.#folder = folder;
  }

  /**
   * Makes a copy of the application `group` in `folder`, which does not exist yet; `compat` is another date for it, `pods` how
   * many pods of Portside share its objects, if they do.
   */
  static async create(kind, { portside, pods, group, folder, compat }) {
    const app = path.join(folder, "app");
    await mkdir(path.join(folder, "state"), { recursive: true });
    await cp(path.join(HERE, "apps", group), app, { recursive: true });
    await cp(path.join(HERE, "worker"), path.join(app, "src", "parity"), { recursive: true });
    const wrangler = await readWrangler(app);
    if (compat) wrangler.compatibility_date = compat;
    await writeFile(path.join(app, "wrangler.jsonc"), JSON.stringify(wrangler));
    if (kind === "workerd") await writeFile(path.join(app, "config.capnp"), await workerdConfig(app, wrangler));
    const server = new Server(kind, portside, pods, folder);
    if (server.#user) await give(folder, server.#user);
    return server;
  }

  /** Starts it, and returns when it listens. What it has stored before is still there. */
  async start() {
    const log = await open(this.log, "a");
    const [program, args] = this.#command();
    const stdio = ["ignore", this.#kind === "workerd" ? log.fd : "pipe", log.fd, "pipe"];
    if (!existsSync(program)) throw new Error(`there is no ${program}: build it, or name another with --portside`);
    const child = spawn(program, args, { cwd: this.#folder, stdio, ...this.#user });
    this.#child = child;
    running.add(child);
    const ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => resolve(signal ?? code));
    });
    child.ended = ended.finally(() => running.delete(child));
    child.ended.catch(() => {});
    await log.close();
    try {
      const port = await within(
        START_LIMIT,
        Promise.race([
          this.#port(child),
          child.ended.then((how) => Promise.reject(new Error(`it ended (${how}) before it listened`))),
        ]),
      );
      this.url = `http://127.0.0.1:${port}`;
    } catch (error) {
      await this.stop("SIGKILL");
      throw new Error(`${this.#kind} does not start: ${error.message}\n${await this.lastWords()}`);
    }
  }

  #command() {
    if (this.#kind === "portside") {
      const shared = this.#pods ? ["--pods", this.#pods] : ["--store", "sqlite:state/state.sqlite"];
      return [this.#portside, ["dev", "app", "--port", "0", "--no-watch", ...shared]];
    }
    const listen = ["--socket-addr", "http=127.0.0.1:0", "--control-fd", "3"];
    return [workerd.default, ["serve", "app/config.capnp", "--directory-path", "storage=state", ...listen]];
  }

  /** As whom it runs, if not as whoever runs this. */
  get #user() {
    const isWanted = this.#kind === "portside" && this.#pods && process.getuid() === 0;
    return isWanted ? { uid: NOBODY, gid: NOBODY } : undefined;
  }

  /** The port that it says it listens on: workerd in JSON on its control descriptor, Portside in a line of its output. */
  async #port(child) {
    const lines = createInterface({ input: this.#kind === "workerd" ? child.stdio[3] : child.stdout });
    return new Promise((resolve) => {
      lines.on("line", (line) => {
        const found = this.#kind === "workerd" ? JSON.parse(line).port : /listens on http:.*:(\d+)$/.exec(line)?.[1];
        if (found) resolve(Number(found));
      });
    });
  }

  /** Sends it a signal, and returns when it has ended. */
  async stop(signal) {
    const child = this.#child;
    if (!running.has(child)) return;
    child.kill(signal);
    await within(STOP_LIMIT, child.ended).catch(() => child.kill("SIGKILL"));
    await child.ended.catch(() => {});
  }

  /** Ends it by a signal and starts it anew. */
  async restart(signal) {
    await this.stop(signal);
    await this.start();
  }

  /** Whether its process is there. */
  get alive() {
    return running.has(this.#child);
  }

  /** The file of what it prints. */
  get log() {
    return path.join(this.#folder, "log");
  }

  /** The end of what it has printed. */
  async lastWords() {
    const text = await readFile(this.log, "utf8").catch(() => "");
    return text.split("\n").slice(-20).join("\n");
  }

  /** Asks it for a path and returns `{ status, headers, body }`, the body as text. */
  fetch(target, options) {
    return request(this.url + target, options);
  }
}

/** Makes all of a folder somebody's. */
async function give(folder, { uid, gid }) {
  const inside = await readdir(folder, { recursive: true });
  await Promise.all([".", ...inside].map((name) => chown(path.join(folder, name), uid, gid)));
}

/** What `promise` resolves to, or an error after `ms`. */
export async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
