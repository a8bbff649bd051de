const members = new Set();

export default {
  connect({ ports: [port] }) {
    members.add(port);
    port.onclose = () => members.delete(port);
    port.onmessage = ({ data }) => {
      for (const member of members) member.postMessage(data);
    };
    port.postMessage("joined");
  },
};
