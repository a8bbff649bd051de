// The worker that others talk to.
let caller;

export default {
  connect({ ports: [port] }) {
    caller = port;
    port.onmessage = ({ data }) => {
      if (data === "terminate") self.terminate();
      else if (data === "alarm") setAlarm(Date.now());
      else if ("echo" in data) port.postMessage(data);
    };
  },
  alarm({ scheduledTime, retryCount, isRetry }) {
    caller.postMessage({ isRetry, retryCount, scheduledTime: `a ${typeof scheduledTime}` });
  },
};
