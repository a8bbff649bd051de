// One counter. There is one worker for each name, and its handlers never run in parallel.

/** By how much to change the count. */
export type Question = { by: number };

/** The count. */
export type Answer = number;

let count = (await storage.get<number>("count")) ?? 0; // runs on every wake, before the first message

function answer({ by }: Question): Answer {
  count += by;
  if (by !== 0) storage.put("count", count);
  return count;
}

export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => port.postMessage(answer(data)); // leaves when the write is durable
  },
} satisfies WorkerHandlers;
