// Writes the answers in transcripts.txt as wrangler gives them: node oracle.mjs DIR PORT, where DIR has wrangler installed.
// What is meant to differ is then put back by hand; the file says what that is.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const [tools, port] = process.argv.slice(2);
const table = path.join(import.meta.dirname, "transcripts.txt");
const LEFT_OUT = /^(cf-cache-status|connection|content-length|date|keep-alive|transfer-encoding|x-mf-.*)$/;

const SERVER = `export default {
  fetch(request, env) {
    if (VIA) return env.ASSETS.fetch(request);
    return new Response("server", { headers: { "x-server": "1" } });
  },
};`;

function ask(method, target, headers) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, method, path: target, headers: { host: "example.com", ...headers } };
    http.request(options, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text)).on("end", () => resolve({ response, body }));
    }).on("error", reject).end();
  });
}

async function answer(line) {
  const [request, ...fields] = line.slice(2).split(" | ");
  const [method, target] = request.split(" ");
  const headers = {};
  for (const field of fields) {
    const [name, value] = field.split(": ");
    headers[name] = value;
  }
  if (headers["If-None-Match"]?.includes("TAG")) {
    const { response } = await ask("GET", target, {});
    headers["If-None-Match"] = headers["If-None-Match"].replace("TAG", response.headers.etag);
  }
  const { response, body } = await ask(method, target, headers);
  if (response.headers["x-server"]) return "= server";
  const shown = Object.entries(response.headers)
    .filter(([name]) => !LEFT_OUT.test(name))
    .map(([name, value]) => `${name}: ${name === "etag" && /^"[0-9a-f]{32}"$/.test(value) ? "TAG" : value}`)
    .sort();
  return ["=", response.statusCode, ...shown.map((field) => `| ${field}`), ...(body ? [`| ${body.split("\n")[0]}`] : [])].join(" ");
}

async function answered(settings, files, lines) {
  const dir = fs.mkdtempSync("/tmp/oracle-");
  for (const [name, text] of files) {
    const file = path.join(dir, "public", name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  fs.mkdirSync(path.join(dir, "public"), { recursive: true });
  fs.writeFileSync(path.join(dir, "server.js"), SERVER.replace("VIA", settings.via === "binding"));
  const { server, via, date, ...assets } = settings;
  const main = server || via ? { main: "server.js" } : {};
  const binding = server || via ? { binding: "ASSETS" } : {};
  if (via) assets.run_worker_first = true;
  const config = { name: "o", compatibility_date: date ?? "2026-04-01", ...main, assets: { directory: "public", ...binding, ...assets } };
  fs.writeFileSync(path.join(dir, "wrangler.json"), JSON.stringify(config));
  const env = { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" };
  const wrangler = spawn(path.join(tools, "node_modules/.bin/wrangler"), ["dev", "--port", port], { cwd: dir, env, detached: true });
  let log = "";
  wrangler.stdout.on("data", (text) => (log += text));
  wrangler.stderr.on("data", (text) => (log += text));
  try {
    for (let n = 0; !log.includes("Ready on"); n++) {
      if (n > 300) throw new Error(log);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const done = [];
    for (const line of lines) done.push(line, ...(line.startsWith("> ") ? [await answer(line)] : []));
    return done;
  } finally {
    process.kill(-wrangler.pid, "SIGKILL");
    execFileSync("rm", ["-rf", dir]);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

const written = [];
let common = [];
for (const section of fs.readFileSync(table, "utf8").split(/\n(?=@ )/)) {
  const lines = section.trimEnd().split("\n").filter((line) => !line.startsWith("= "));
  const files = new Map(common);
  let file;
  for (const line of lines) {
    if (line.startsWith("+ ")) files.set((file = line.slice(2)), `${file}\n`);
    if (line.startsWith("| ")) files.set(file, (files.get(file) === `${file}\n` ? "" : files.get(file)) + `${line.slice(2)}\n`);
  }
  if (!lines[0].startsWith("@ ")) {
    common = [...files];
    written.push(...lines);
    continue;
  }
  const settings = JSON.parse(lines[0].slice(2));
  console.log(lines[0]);
  written.push("", ...(await answered(settings, files, lines)));
}
fs.writeFileSync(table, `${written.join("\n")}\n`);
