import { names, use } from "./uses.js";

export default {
  connect({ ports: [port] }) {
    port.onmessage = async ({ data: { name, peer } }) => {
      port.postMessage(name === undefined ? names() : await use(name, peer));
    };
  },
};
