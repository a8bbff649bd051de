// wrangler.jsonc, and the workerd configuration that says the same.

import { readFile, readdir } from "node:fs/promises";
import path from "node:path";

const TOKENS = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=\s*(?:\/\/[^\n]*\s*|\/\*[\s\S]*?\*\/\s*)*[}\]])/g;

/** Parses JSON with comments and trailing commas. */
export function parseJsonc(text) {
  return JSON.parse(text.replace(TOKENS, (token) => (token.startsWith('"') ? token : "")));
}

/** The configuration of the application in a folder. */
export async function readWrangler(folder) {
  return parseJsonc(await readFile(path.join(folder, "wrangler.jsonc"), "utf8"));
}

/**
 * The workerd configuration of what the wrangler.jsonc in `folder` says, to be put beside that. It has a socket "http", and a
 * disk "storage" for which the command line names a folder.
 */
export async function workerdConfig(folder, wrangler) {
  const { name, main, compatibility_date, compatibility_flags = [], vars = {} } = wrangler;
  const own = ({ script_name }) => script_name === undefined || script_name === name;
  const objects = wrangler.durable_objects?.bindings ?? [];
  if (!objects.every(own)) throw new Error(`${folder}: bindings to objects of other scripts are not supported here`);
  const bindings = [
    ...objects.map((binding) => record({ name: text(binding.name), durableObjectNamespace: text(binding.class_name) })),
    ...Object.entries(vars).map(([key, value]) => {
      const kind = typeof value === "string" ? { text: text(value) } : { json: text(JSON.stringify(value)) };
      return record({ name: text(key), ...kind });
    }),
  ];
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .application), (name = "storage", disk = (writable = true))],
  sockets = [(name = "http", http = (), service = "main")],
);

const application :Workerd.Worker = (
  modules = ${list(await modules(folder, main))},
  compatibilityDate = ${text(compatibility_date)},
  compatibilityFlags = ${list(compatibility_flags.map(text))},
  durableObjectNamespaces = ${list(namespaces(name, wrangler.migrations ?? []))},
  durableObjectStorage = (localDisk = "storage"),
  bindings = ${list(bindings)},
);
`;
}

function namespaces(name, migrations) {
  const of = (className, enableSql) =>
    record({ className: text(className), uniqueKey: text(`${name}-${className}`), enableSql });
  return migrations.flatMap(({ new_sqlite_classes = [], new_classes = [] }) => [
    ...new_sqlite_classes.map((className) => of(className, true)),
    ...new_classes.map((className) => of(className, false)),
  ]);
}

/** The modules beside and below the main one, which workerd wants first. */
async function modules(folder, main) {
  const root = path.dirname(main);
  const kinds = { ".js": "esModule", ".mjs": "esModule", ".txt": "text", ".bin": "data", ".json": "json" };
  const found = await readdir(path.join(folder, root), { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  const names = files
    .map((file) => path.relative(path.join(folder, root), file))
    .filter((file) => path.extname(file) in kinds);
  const first = path.basename(main);
  names.sort((a, b) => (b === first) - (a === first) || (a < b ? -1 : 1));
  return names.map((file) =>
    record({ name: text(file), [kinds[path.extname(file)]]: `embed ${text(path.join(root, file))}` }),
  );
}

function record(fields) {
  return `(${Object.entries(fields)
    .map(([key, value]) => `${key} = ${value}`)
    .join(", ")})`;
}

function list(items) {
  return items.length === 0 ? "[]" : `[\n    ${items.join(",\n    ")},\n  ]`;
}

/** A text literal of Cap'n Proto: as JSON's, but for characters that only JSON can escape by their number. */
function text(value) {
  const literal = JSON.stringify(value);
  if (/\\u/.test(literal)) throw new Error(`${literal} cannot be in a configuration of workerd`);
  return literal;
}
