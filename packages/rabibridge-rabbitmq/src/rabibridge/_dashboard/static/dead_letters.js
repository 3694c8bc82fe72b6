// Dead letters: shown on demand, since looking at them costs the broker more than a glance.

import { Table } from "./table.js";
import { clock, count, duration, element, shown } from "./text.js";

const id = (name) => document.getElementById(name);

export class DeadLetters {
  constructor() {
    this.selected = new Set();
    this.actions = false;
    this.table = new Table(
      id("dead-table"),
      [
        { key: "pick", title: "", cell: (row) => this.box(row), value: (row) => row.position },
        { key: "position", title: "#", cell: (row) => count(row.position), value: (row) => row.position },
        { key: "service", title: "Service", text: true, cell: (row) => shown(row.service ?? "–"), value: (row) => row.service },
        { key: "reason", title: "Why", text: true, wrap: true, cell: (row) => shown(row.reason), value: (row) => row.reason },
        { key: "time", title: "When", cell: (row) => clock(row.time), value: (row) => row.time },
        { key: "deaths", title: "Deaths", cell: (row) => count(row.deaths), value: (row) => row.deaths, help: "How often it was dead-lettered" },
        { key: "left", title: "Time left", cell: (row) => (row.left !== null && row.left <= 0 ? element("span", { class: "bad" }, "too late") : duration(row.left)), value: (row) => row.left },
        { key: "size", title: "Bytes", cell: (row) => count(row.size), value: (row) => row.size },
      ],
      (row) => `${row.service ?? ""} ${row.id}`,
      { sorted: "position", empty: id("dead-empty") },
    );
    id("dead-refresh").addEventListener("click", () => this.look());
    id("dead-requeue").addEventListener("click", () => this.requeue());
  }

  mayAct(actions) {
    this.actions = actions;
    id("dead-requeue").hidden = !actions;
    id("dead-time").hidden = !actions;
    this.table.render();
  }

  box(row) {
    if (!this.actions || !row.ours) return "";
    const box = element("input", { type: "checkbox", "aria-label": `select ${row.position}` });
    box.checked = this.selected.has(row.id);
    box.addEventListener("change", () => {
      if (box.checked) this.selected.add(row.id);
      else this.selected.delete(row.id);
      this.enable();
    });
    return box;
  }

  enable() {
    id("dead-requeue").disabled = this.selected.size === 0;
  }

  say(text, bad = false) {
    id("dead-said").className = bad ? "bad" : "dim";
    id("dead-said").textContent = shown(text);
  }

  async look() {
    this.say("looking …");
    const answer = await this.ask("api/dead?limit=200");
    if (!answer) return;
    this.selected.clear();
    this.enable();
    this.table.show(answer.letters);
    this.say(answer.total > answer.letters.length ? `the first ${answer.letters.length} of ${answer.total}` : `${answer.total} at ${clock(answer.time)}`);
  }

  async requeue() {
    const letters = [...this.selected];
    if (!confirm(`Put ${letters.length} dead letter(s) back into the queues of their services? Their calls run again.`)) return;
    const answer = await this.ask("api/dead/requeue", {
      method: "POST",
      headers: { "content-type": "application/json", "x-rabibridge-action": "requeue" },
      body: JSON.stringify({ letters, timeout: Number(id("dead-timeout").value) || null }),
    });
    if (!answer) return;
    await this.look();
    this.say(answer.said, answer.left > 0);
  }

  async ask(path, options = {}) {
    let said;
    try {
      const response = await fetch(path, options);
      if (response.ok) return await response.json();
      said = await response.text();
    } catch (error) {
      said = `the dashboard does not answer (${error.message})`;
    }
    this.say(said, true);
    return null;
  }
}
