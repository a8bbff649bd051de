export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => port.postMessage(data);
  },
};
