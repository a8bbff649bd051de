export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => data === "close" && port.close();
  },
};
