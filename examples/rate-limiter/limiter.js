// One client's budget: LIMIT hits in a window that starts with the first of them.

const LIMIT = 10;
const WINDOW_MS = 60_000;

// Count and end are one value, so that no crash can store the one without the other.
const EMPTY = { count: 0, resetsAt: 0 };
let bucket = (await storage.get("bucket")) ?? EMPTY;

async function hit() {
  const now = Date.now();
  if (now >= bucket.resetsAt) {
    bucket = { count: 0, resetsAt: now + WINDOW_MS };
    setAlarm(bucket.resetsAt);
  }
  const allowed = bucket.count < LIMIT;
  // Everything from the decision to the `put` runs without an `await`: no other hit comes between.
  const verdict = {
    allowed,
    limit: LIMIT,
    remaining: allowed ? LIMIT - bucket.count - 1 : 0,
    resetsAt: bucket.resetsAt,
  };
  if (allowed) {
    bucket = { ...bucket, count: bucket.count + 1 };
    await storage.put("bucket", bucket);
  }
  return verdict;
}

export default {
  connect(event) {
    const [port] = event.ports;
    port.onmessage = async () => {
      try {
        port.postMessage(await hit());
      } catch (error) {
        // The caller sees its port close and need not wait for an answer in vain.
        console.error("the hit could not be stored:", error);
        port.close();
      }
    };
  },

  // The window is over: a client that does not come back leaves nothing behind.
  async alarm({ scheduledTime }) {
    if (scheduledTime < bucket.resetsAt) return; // A later window has begun meanwhile.
    bucket = EMPTY;
    await storage.deleteAll();
  },
};
