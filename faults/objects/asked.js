// How lists are asked, and answer.
import { DurableObject } from "cloudflare:workers";

/** Answers operations with what `perform` of the class says of them, or why it failed. */
export class Asked extends DurableObject {
  // Tells this instance from others.
  instance = crypto.randomUUID().slice(0, 8);

  constructor(ctx, env) {
    super(ctx, env);
    // A damaged database answers nothing, which the lab sees.
    const { quick_check } = ctx.storage.sql.exec("PRAGMA quick_check").one();
    if (quick_check !== "ok") throw new Error(`the database is damaged: ${quick_check}`);
  }

  async ask(operation) {
    try {
      return { id: operation.id, instance: this.instance, ...(await this.perform(operation)) };
    } catch (error) {
      return { id: operation.id, instance: this.instance, error: String(error) };
    }
  }

  /** A WebSocket: a message for each operation. */
  fetch() {
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.addEventListener("message", async ({ data }) => server.send(JSON.stringify(await this.ask(JSON.parse(data)))));
    return new Response(null, { status: 101, webSocket: client });
  }
}
