// How lists are asked, and answer.

/** Tells this instance from others. */
export const instance = crypto.randomUUID().slice(0, 8);

/** Answers each operation on a port with what `perform` says of it, or why it failed. */
export function answer({ ports: [port] }, perform) {
  port.onmessage = async ({ data }) => {
    try {
      port.postMessage({ id: data.id, instance, ...(await perform(data)) });
    } catch (error) {
      port.postMessage({ id: data.id, instance, error: String(error) });
    }
  };
}
