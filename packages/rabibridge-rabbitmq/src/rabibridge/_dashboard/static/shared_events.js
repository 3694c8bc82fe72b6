// One connection of events for all tabs of this browser: browsers open only six to one host over HTTP/1.1, so the seventh
// tab would wait for ever. A tab that opens asks for everything anew; what it gets, the others get, too.

const ports = new Set();
let source = null;

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function connect() {
  source?.close();
  source = new EventSource("../api/events");
  for (const name of ["everything", "state"]) {
    source.addEventListener(name, (event) => tell({ name, data: JSON.parse(event.data) }));
  }
  source.addEventListener("error", () => tell({ name: "away", data: source.readyState === EventSource.CLOSED }));
}

self.addEventListener("connect", (event) => {
  const [port] = event.ports;
  ports.add(port);
  port.addEventListener("message", ({ data }) => {
    if (data === "leave") ports.delete(port);
    if (data === "again" || ports.size > 0 && source?.readyState === EventSource.CLOSED) connect();
    if (ports.size === 0) {
      source?.close();
      source = null;
    }
  });
  port.start();
  connect();
});
