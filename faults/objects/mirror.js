// What a list's relay has let out: counts requests and messages. Read once, at the end.
import { Asked } from "./asked.js";

const VERSION = 1;

export class Mirror extends Asked {
  count(name) {
    const { kv } = this.ctx.storage;
    kv.put(name, (kv.get(name) ?? 0) + 1);
  }

  fetch() {
    this.count("opened");
    return new Response();
  }

  tell() {
    this.count("told");
  }

  perform() {
    const { kv } = this.ctx.storage;
    return { opened: kv.get("opened") ?? 0, told: kv.get("told") ?? 0 };
  }
}
