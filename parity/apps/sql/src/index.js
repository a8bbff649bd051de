// ctx.storage.sql.

import { DurableObject } from "cloudflare:workers";

import { cursors } from "./cursors.js";
import { inside, perform, serve } from "./parity/parity.js";
import { refusals } from "./refusals.js";
import { statements } from "./statements.js";
import { values } from "./values.js";

const cases = { ...cursors, ...refusals, ...statements, ...values };

const withoutSqlite = {
  "sql of a class without SQLite": ({ storage }, t) => {
    t.sync("sql", () => typeof storage.sql);
    t.sync("exec", () => storage.sql.exec("SELECT 1"));
    t.sync("databaseSize", () => storage.sql.databaseSize);
  },
};

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
}

export class Plain extends DurableObject {
  fetch(request) {
    return perform(withoutSqlite, this, request);
  }
}

export default serve({ ...inside("LAB", cases), ...inside("PLAIN", withoutSqlite) });
