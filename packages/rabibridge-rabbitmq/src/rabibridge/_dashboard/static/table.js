// A table that is sorted by a column, filtered by a text, and used with the keyboard.

import { element } from "./text.js";

export class Table {
  /**
   * columns: [{ key, title, text: bool, cell(row) -> node or text, value(row) -> what to sort by, help }]
   * identify(row) -> a text that names the row; opened(row): called for Enter and a click.
   */
  constructor(table, columns, identify, { sorted, descending = false, opened = () => {}, picked = null, empty = null }) {
    this.table = table;
    this.columns = columns;
    this.identify = identify;
    this.opened = opened;
    this.picked = picked;
    this.empty = empty;
    this.sorted = sorted;
    this.descending = descending;
    this.rows = [];
    this.filter = "";
    this.selected = null;
    this.body = element("tbody");
    this.headings = columns.map((column) => this.heading(column));
    table.append(element("thead", {}, element("tr", {}, ...this.headings)), this.body);
  }

  heading(column) {
    const button = element("button", { type: "button", title: column.help ?? null }, column.title);
    button.addEventListener("click", () => this.sortBy(column.key));
    return element("th", { scope: "col", class: column.text ? "text" : null }, button);
  }

  sortBy(key) {
    this.descending = this.sorted === key ? !this.descending : !this.columns.find((c) => c.key === key).text;
    this.sorted = key;
    this.render();
  }

  sortNext() {
    const at = this.columns.findIndex((column) => column.key === this.sorted);
    this.sortBy(this.columns[(at + 1) % this.columns.length].key);
  }

  reverse() {
    this.descending = !this.descending;
    this.render();
  }

  show(rows) {
    this.rows = rows;
    this.render();
  }

  visible() {
    const wanted = this.filter.toLowerCase();
    const column = this.columns.find((c) => c.key === this.sorted);
    const order = (a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (x === y) return this.identify(a) < this.identify(b) ? -1 : 1;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return (x < y ? -1 : 1) * (this.descending ? -1 : 1);
    };
    return this.rows.filter((row) => !wanted || this.identify(row).toLowerCase().includes(wanted)).sort(order);
  }

  move(steps) {
    const rows = this.visible();
    if (!rows.length) return;
    const at = rows.findIndex((row) => this.identify(row) === this.selected);
    const next = at < 0 ? (steps > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + steps, 0), rows.length - 1);
    this.selected = this.identify(rows[next]);
    this.render();
    this.body.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  open() {
    const row = this.visible().find((candidate) => this.identify(candidate) === this.selected);
    if (row) this.opened(row);
  }

  render() {
    this.columns.forEach((column, i) => {
      const state = column.key !== this.sorted ? "none" : this.descending ? "descending" : "ascending";
      this.headings[i].setAttribute("aria-sort", state);
    });
    const rows = this.visible().map((row) => this.row(row));
    this.body.replaceChildren(...rows);
    if (this.empty) this.empty.hidden = rows.length > 0;
  }

  row(row) {
    const name = this.identify(row);
    const cells = this.columns.map((column) => {
      const content = column.cell(row);
      const cell = element("td", { class: column.text ? `text ${column.wrap ? "wrap" : ""}` : null });
      cell.append(content);
      if (column.text && typeof content === "string") cell.title = content;
      return cell;
    });
    const made = element("tr", { "aria-selected": name === this.selected }, ...cells);
    made.addEventListener("click", (event) => {
      if (event.target.closest("input, button, a")) return;
      this.selected = name;
      this.render();
      this.opened(row);
    });
    return made;
  }
}
