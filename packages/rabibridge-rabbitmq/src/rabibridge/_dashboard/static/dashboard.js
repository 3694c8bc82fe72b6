// The page: shows the newest state, and keeps the points of the plots.

import { DeadLetters } from "./dead_letters.js";
import { listen } from "./events.js";
import { meter, plot, spark } from "./plots.js";
import { Table } from "./table.js";
import { clock, count, duration, element, limit, rate, shown, shownLines, size } from "./text.js";

const POINTS = 300;
const VIEWS = ["services", "workers", "errors", "dead"];
const id = (name) => document.getElementById(name);

let state = null;
let history = { times: [], services: {} };
let view = "services";
let opened = null;

const depth = (row) => {
  if (row.waiting === null) return "–";
  if (!row.bound) return count(row.waiting);
  const cell = element("span");
  cell.append(meter(row.waiting, row.bound), `${count(row.waiting)} / ${count(row.bound)}`);
  return cell;
};
const alarming = (number, text) => (number > 0 ? element("span", { class: "bad" }, text) : text);

const services = new Table(
  id("services-table"),
  [
    { key: "name", title: "Service", text: true, cell: (row) => shown(row.title), value: (row) => row.title },
    { key: "workers", title: "Workers", cell: (row) => (row.workers ? count(row.workers) : element("span", { class: "bad" }, "0")), value: (row) => row.workers },
    { key: "rate", title: "Calls/s", cell: (row) => rate(row.rate) + (row.rateLimit ? ` / ${limit(row.rateLimit)}` : ""), value: (row) => row.rate, help: "Calls that end in one second, and how many may start in one" },
    { key: "spark", title: "5 min", cell: (row) => spark(history.services[row.id]?.rate ?? []), value: (row) => row.rate, help: "Calls per second" },
    { key: "p50", title: "p50", cell: (row) => duration(row.p50), value: (row) => row.p50, help: "Half of the calls of the last minute ended within this time" },
    { key: "p99", title: "p99", cell: (row) => duration(row.p99), value: (row) => row.p99, help: "99 of 100 calls of the last minute ended within this time" },
    { key: "inHand", title: "In hand", cell: (row) => `${count(row.inHand)}${row.places ? ` / ${count(row.places)}` : ""}`, value: (row) => row.inHand, help: "Calls that workers process now, and how many they may" },
    { key: "waiting", title: "Waiting", cell: depth, value: (row) => row.waiting, help: "Calls in the queue, and its bound" },
    { key: "failing", title: "Errors/s", cell: (row) => alarming(row.failing, rate(row.failing)), value: (row) => row.failing },
    { key: "refused", title: "Refused", cell: (row) => alarming(row.refused, count(row.refused)), value: (row) => row.refused, help: "Calls that workers refused: too late, or arguments that do not fit" },
    { key: "calls", title: "Calls", cell: (row) => count(row.calls), value: (row) => row.calls, help: "Since the workers started" },
  ],
  (row) => row.id,
  { sorted: "name", opened: open, empty: id("services-empty") },
);

const workers = new Table(
  id("workers-table"),
  [
    { key: "name", title: "Worker", text: true, cell: (row) => shown(row.name), value: (row) => row.name },
    { key: "state", title: "State", text: true, cell: (row) => element("span", { class: row.state === "ready" ? "good" : "bad" }, shown(row.state)), value: (row) => row.state },
    { key: "host", title: "Host", text: true, cell: (row) => shown(row.host), value: (row) => row.host },
    { key: "pid", title: "PID", cell: (row) => String(row.pid), value: (row) => row.pid },
    { key: "version", title: "Version", text: true, cell: (row) => shown(row.version), value: (row) => row.version },
    { key: "uptime", title: "Up", cell: (row) => duration(row.uptime), value: (row) => row.uptime },
    { key: "inHand", title: "In hand", cell: (row) => count(row.inHand), value: (row) => row.inHand },
    { key: "lag", title: "Loop lag", cell: (row) => alarming(row.lag > 0.1 ? 1 : 0, duration(row.lag)), value: (row) => row.lag, help: "How late the event loop was, at most, of late" },
    { key: "memory", title: "Memory", cell: (row) => size(row.memory), value: (row) => row.memory },
    { key: "cpu", title: "CPU", cell: (row) => duration(row.cpu), value: (row) => row.cpu, help: "CPU time since it started" },
    { key: "services", title: "Services", cell: (row) => count(row.services), value: (row) => row.services },
  ],
  (row) => row.name,
  { sorted: "name", empty: id("workers-empty") },
);

const dead = new DeadLetters();
const tables = { services, workers, dead: dead.table };

function errorEntry(error) {
  const times = error.count > 1 ? ` (${count(error.count)} times)` : "";
  const line = `${clock(error.time)} ${shown(error.service)}: ${shown(error.type)}: ${shown(error.message)}${times}`;
  const where = error.worker ? `worker ${shown(error.worker)}\n` : "";
  return element("details", {}, element("summary", {}, line), element("pre", {}, `${where}${shownLines(error.traceback || "no traceback")}`));
}

function showErrors(place, errors, nothing) {
  const open = new Set([...place.querySelectorAll("details[open] summary")].map((summary) => summary.textContent));
  const made = errors.map(errorEntry);
  for (const details of made) details.open = open.has(details.firstChild.textContent);
  const same = place.textContent === made.map((details) => details.textContent).join("");
  if (same && made.length) return;
  place.replaceChildren(...(made.length ? made : [element("p", { class: "empty" }, nothing)]));
}

function open(row) {
  opened = opened === row.id ? null : row.id;
  renderService();
}

function renderService() {
  const row = state?.services.find((service) => service.id === opened);
  id("service").hidden = !row;
  if (!row) return;
  id("service-name").textContent = shown(row.title);
  id("service-signature").textContent = [row.signature, row.doc].filter(Boolean).map(shownLines).join("\n");
  id("service-rate").textContent = row.rateLimit
    ? `At most ${limit(row.rateLimit)} calls start in one second, ${limit(row.rateShare ?? 0)} of them on the workers that answer. ` +
      `${count(row.rateWaiting)} wait for their turn, ${count(row.rateRefused)} were refused.`
    : "";
  const points = history.services[row.id] ?? {};
  const line = (name, key) => ({ name, points: points[key] ?? [] });
  id("plots").replaceChildren(
    plot("Calls per second", history.times, [line("calls", "rate"), line("errors", "failing")], "rate", row.rateLimit, "at most"),
    plot("Time to the result", history.times, [line("p99", "p99"), line("p50", "p50")], "duration"),
    plot("Waiting in the queue", history.times, [line("waiting", "waiting")], "count", row.bound, "bound"),
    plot("In hand", history.times, [line("in hand", "inHand")], "count", row.places, "at most"),
  );
  const errors = state.errors.filter((error) => error.service === row.name);
  showErrors(id("service-errors"), errors, "No errors since the workers started.");
}

function total(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

function render() {
  if (!state) return;
  const sum = (key) => state.services.reduce((all, row) => all + (row[key] ?? 0), 0);
  id("broker").className = state.problem ? "bad" : "good";
  id("broker").textContent = state.problem ? shown(state.problem) : `${shown(state.broker)}, ${clock(state.time)}`;
  id("totals").replaceChildren(
    total("workers", count(state.workers.length)),
    total("calls/s", rate(sum("rate"))),
    total("in hand", count(sum("inHand"))),
    total("waiting", count(sum("waiting"))),
    total("errors/s", rate(sum("failing"))),
  );
  id("notes").textContent = state.notes.map(shown).join("\n");
  services.show(state.services);
  workers.show(state.workers);
  if (view === "errors") showErrors(id("errors-list"), filtered(state.errors), "No errors since the workers started.");
  if (view === "services") renderService();
}

function filtered(errors) {
  const wanted = id("filter").value.toLowerCase();
  return errors.filter((error) => !wanted || `${error.service} ${error.type}`.toLowerCase().includes(wanted));
}

function addPoint() {
  history.times.push(state.time);
  const current = new Map(state.services.map((row) => [row.id, row]));
  for (const row of state.services) history.services[row.id] ??= {};
  for (const [name, series] of Object.entries(history.services)) {
    for (const key of ["rate", "failing", "p50", "p99", "waiting", "inHand"]) {
      series[key] ??= new Array(history.times.length - 1).fill(null);
      series[key].push(current.get(name)?.[key] ?? null);
      if (series[key].length > POINTS) series[key].shift();
    }
    if (!current.has(name) && Object.values(series).every((points) => points.every((point) => point === null))) {
      delete history.services[name];
    }
  }
  if (history.times.length > POINTS) history.times.shift();
}

function select(name) {
  view = name;
  for (const other of VIEWS) {
    id(other).hidden = other !== name;
    id(`tab-${other}`).setAttribute("aria-selected", String(other === name));
  }
  if (name === "dead") dead.look();
  render();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("rabibridge-theme", name);
  } catch {
    // A browser that keeps nothing for us starts with its own preference.
  }
}

function otherTheme() {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

function firstTheme() {
  try {
    const kept = localStorage.getItem("rabibridge-theme");
    if (kept === "dark" || kept === "light") return kept;
  } catch {
    // As above.
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function escape() {
  if (id("filter").value) {
    id("filter").value = "";
    applyFilter();
  } else if (opened) {
    opened = null;
    renderService();
  }
  document.activeElement?.blur();
}

function applyFilter() {
  for (const table of Object.values(tables)) {
    table.filter = id("filter").value;
    table.render();
  }
  render();
}

const KEYS = {
  "/": () => id("filter").focus(),
  "?": () => id("help").showModal(),
  ArrowDown: () => tables[view]?.move(1),
  ArrowUp: () => tables[view]?.move(-1),
  j: () => tables[view]?.move(1),
  k: () => tables[view]?.move(-1),
  Enter: () => tables[view]?.open(),
  s: () => tables[view]?.sortNext(),
  S: () => tables[view]?.reverse(),
  t: otherTheme,
  Escape: escape,
};
VIEWS.forEach((name, i) => {
  KEYS[String(i + 1)] = () => select(name);
  id(`tab-${name}`).addEventListener("click", () => select(name));
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || id("help").open) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key !== "Escape") return;
  if (event.key === "Enter" && event.target.matches("button, summary")) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
id("filter").addEventListener("input", applyFilter);
id("theme").addEventListener("click", otherTheme);
id("help-button").addEventListener("click", () => id("help").showModal());
setTheme(firstTheme());

const again = listen({
  everything(data) {
    state = data.state;
    history = data.history;
    dead.mayAct(state.actions);
    render();
  },
  state(data) {
    state = data;
    addPoint();
    render();
  },
  away(closed) {
    id("broker").className = "bad";
    id("broker").textContent = "the dashboard does not answer; trying again";
    if (closed) setTimeout(again, 5000);
  },
});
