// The events of the server: through the worker that all tabs share, or a connection of this tab where there is none.

/** handlers: { everything(data), state(data), away(closed) } */
export function listen(handlers) {
  const take = ({ name, data }) => handlers[name](data);
  if (typeof SharedWorker === "function") {
    const worker = new SharedWorker("static/shared_events.js", { name: "rabibridge events" });
    worker.port.addEventListener("message", ({ data }) => take(data));
    worker.port.start();
    addEventListener("pagehide", () => worker.port.postMessage("leave"));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    return () => worker.port.postMessage("again");
  }
  let source = null;
  const connect = () => {
    source?.close();
    source = new EventSource("api/events");
    for (const name of ["everything", "state"]) {
      source.addEventListener(name, (event) => take({ name, data: JSON.parse(event.data) }));
    }
    source.addEventListener("error", () => handlers.away(source.readyState === EventSource.CLOSED));
  };
  connect();
  return connect;
}
