// A page that is opened as a file may start no Worker: the search then runs in a hidden frame of the page.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #waiting = [];

    constructor(address) {
      super();
      this.#frame.hidden = true;
      document.head.append(this.#frame);
      const inner = this.#frame.contentWindow;
      // What a Worker is sent is a copy: each side changes its own.
      inner.postMessage = (message) =>
        setTimeout(() => {
          const data = structuredClone(message);
          const event = new MessageEvent("message", { data });
          this.onmessage?.(event);
          this.dispatchEvent(event);
        });
      const script = inner.document.createElement("script");
      script.src = new URL(address, location.href).href;
      script.onload = () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting.forEach((data) => this.postMessage(data));
      };
      script.onerror = (event) => this.onerror?.(event);
      inner.document.documentElement.append(script);
    }

    postMessage(message) {
      const data = structuredClone(message);
      if (this.#waiting) {
        this.#waiting.push(data);
        return;
      }
      const inner = this.#frame.contentWindow;
      setTimeout(() => inner?.dispatchEvent(new inner.MessageEvent("message", { data })));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
