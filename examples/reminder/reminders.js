// One user's reminders. A worker has one alarm; it is always set to the earliest reminder.

const MAX_PENDING = 1000;
const MAX_FIRED = 50;

// The stored records, in memory: deciding without an `await` leaves no room for another handler between.
const pending = new Map(await storage.list({ prefix: "pending:" }));
const fired = new Map(await storage.list({ prefix: "fired:" }));

// When this module ran: a worker that slept, or was killed, comes back with a later one.
const awakeSince = Date.now();

// Note what is absent here: the module does not touch the alarm. It runs on every wake,
// also on the wake that delivers the alarm, and would push it away.
function arm() {
  let next = Infinity;
  for (const { due } of pending.values()) next = Math.min(next, due);
  return next === Infinity ? deleteAlarm() : setAlarm(next);
}

async function add({ id, text, due }) {
  if (pending.size >= MAX_PENDING) {
    return { status: 409, body: { error: `no more than ${MAX_PENDING} reminders can be pending` } };
  }
  const record = { id, text, due };
  pending.set(`pending:${id}`, record);
  // Both are in one turn, so they are stored together: no record without its alarm.
  await Promise.all([storage.put(`pending:${id}`, record), arm()]);
  return { status: 201, body: show(record) };
}

async function remove({ id }) {
  if (!pending.delete(`pending:${id}`)) {
    return { status: 404, body: { error: "no such reminder is pending" } };
  }
  await Promise.all([storage.delete(`pending:${id}`), arm()]);
  return { status: 204 };
}

function list() {
  const byTime = (records, time) => [...records.values()].sort((a, b) => a[time] - b[time]).map(show);
  const body = { pending: byTime(pending, "due"), fired: byTime(fired, "firedAt") };
  return { status: 200, body: { awakeSince: iso(awakeSince), ...body } };
}

function show(record) {
  return { ...record, due: iso(record.due), firedAt: iso(record.firedAt), awakeSince: iso(record.awakeSince) };
}

function iso(time) {
  return time === undefined ? undefined : new Date(time).toISOString();
}

// Moves a reminder from pending to fired. Returns the writes that do it.
function fire(record, now) {
  const done = { ...record, firedAt: now, awakeSince };
  pending.delete(`pending:${record.id}`);
  fired.set(`fired:${record.id}`, done);
  console.log(`reminder for ${self.name}: ${record.text}`);
  return [storage.delete(`pending:${record.id}`), storage.put(`fired:${record.id}`, done)];
}

// Drops the oldest fired reminders past the limit. Returns the writes that do it.
function forget() {
  const oldest = [...fired.values()].sort((a, b) => a.firedAt - b.firedAt);
  return oldest.slice(0, Math.max(0, oldest.length - MAX_FIRED)).map(({ id }) => {
    fired.delete(`fired:${id}`);
    return storage.delete(`fired:${id}`);
  });
}

const HANDLERS = { add, remove, list };

export default {
  connect(event) {
    const [port] = event.ports;
    port.onmessage = async ({ data }) => {
      try {
        port.postMessage(await HANDLERS[data.type](data));
      } catch (error) {
        // The caller sees its port close and need not wait for an answer in vain.
        console.error(`${data.type} failed:`, error);
        port.close();
      }
    };
  },

  // Delivered at least once. A second delivery finds nothing due and changes nothing.
  async alarm({ scheduledTime }) {
    // An alarm may be delivered by a clock slightly ahead of this one; what it was set for is due.
    const now = Math.max(Date.now(), scheduledTime);
    const due = [...pending.values()].filter((record) => record.due <= now);
    await Promise.all([...due.flatMap((record) => fire(record, now)), ...forget(), arm()]);
  },
};
