// One counter: its value in memory, every change in storage before anyone hears of it.

import type { Answer, Question } from "./protocol.ts";

let value: number = (await storage.get<number>("value")) ?? 0;

async function add(by: number): Promise<Answer> {
  const sum = value + by;
  if (!Number.isSafeInteger(sum)) return { error: "the counter would leave the range of exact integers" };
  // No `await` between reading and writing `value`, so no increment can be lost.
  value = sum;
  await storage.put("value", sum);
  return { value: sum };
}

export default {
  connect(event: ConnectEvent): void {
    const [port] = event.ports;
    port.onmessage = async ({ data }) => {
      const question = data as Question;
      try {
        port.postMessage(question.type === "add" ? await add(question.by) : { value });
      } catch (error) {
        // The caller sees its port close and need not wait for an answer in vain.
        console.error("the increment could not be stored:", error);
        port.close();
      }
    };
  },
};
