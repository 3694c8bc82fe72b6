// Line plots and small pictures as SVG.

import { count, duration, element, picture, rate } from "./text.js";

const WIDTH = 480;
const HEIGHT = 130;
const LEFT = 44;
const BOTTOM = 112;
const TOP = 8;

const FORMATS = { count, duration, rate };

function highest(lists) {
  let top = 0;
  for (const list of lists) for (const point of list) if (point !== null && point > top) top = point;
  return top;
}

/** The next of 1, 2, 4, 6, 8, 10, 20, … from here on, so that the middle of the axis is a round number, too. */
function round(number) {
  const unit = 10 ** Math.floor(Math.log10(number));
  return unit * [1, 2, 4, 6, 8, 10].find((step) => step * unit >= number * 0.999);
}

function path(points, times, top) {
  const from = times[0];
  const span = Math.max(times[times.length - 1] - from, 1);
  let d = "";
  let drawing = false;
  points.forEach((point, i) => {
    if (point === null || point === undefined) {
      drawing = false;
      return;
    }
    const x = LEFT + ((times[i] - from) / span) * (WIDTH - LEFT - 4);
    const y = BOTTOM - (point / top) * (BOTTOM - TOP);
    d += `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    drawing = true;
  });
  return d;
}

/** A figure with one or two lines over time, and a bound. */
export function plot(title, times, lines, format, bound = null, boundName = "bound") {
  const show = FORMATS[format];
  const lists = lines.map((line) => line.points);
  const least = format === "count" ? 2 : 0; // half of a call would be shown as a whole one
  const top = round(Math.max(highest(lists), (bound ?? 0) * 1.05, least) || 1);
  const drawing = picture("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const share of [0, 0.5, 1]) {
    const y = BOTTOM - share * (BOTTOM - TOP);
    drawing.append(picture("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y, y2: y }));
    drawing.append(picture("text", { x: LEFT - 4, y: y + 3, "text-anchor": "end" }, show(top * share)));
  }
  if (bound !== null) {
    const y = BOTTOM - (bound / top) * (BOTTOM - TOP);
    drawing.append(picture("line", { class: "bound", x1: LEFT, x2: WIDTH - 4, y1: y, y2: y }));
  }
  if (times.length > 1) {
    lines.forEach((line, i) => {
      drawing.append(picture("path", { class: `line line${i}`, d: path(line.points, times, top) }));
    });
    const span = times[times.length - 1] - times[0];
    drawing.append(picture("text", { x: LEFT, y: HEIGHT - 4 }, `${duration(span)} ago`));
    drawing.append(picture("text", { x: WIDTH - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
  }
  const keys = lines.map((line, i) => {
    const last = line.points.length ? line.points[line.points.length - 1] : null;
    return element("span", { class: `key${i}` }, `${line.name} ${show(last)}`);
  });
  if (bound !== null) keys.push(element("span", { class: "bad" }, `${boundName} ${show(bound)}`));
  return element("figure", {}, element("figcaption", {}, element("b", {}, title), ...keys), drawing);
}

/** A small line without axes. */
export function spark(points) {
  const last = points.slice(-60);
  const top = highest([last]) || 1;
  const step = 80 / Math.max(last.length - 1, 1);
  const d = last.map((point, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${(18 - ((point ?? 0) / top) * 16).toFixed(1)}`);
  return picture("svg", { class: "spark", viewBox: "0 0 80 20", "aria-hidden": "true" }, picture("path", { d: d.join("") }));
}

/** How full something is. */
export function meter(part, whole) {
  const share = whole ? Math.min(part / whole, 1) : 0;
  const level = share >= 1 ? " over" : share >= 0.7 ? " high" : "";
  return picture(
    "svg",
    { class: "meter", viewBox: "0 0 60 8", "aria-hidden": "true" },
    picture("rect", { width: 60, height: 8, rx: 3 }),
    picture("rect", { class: `full${level}`, width: 60 * share, height: 8, rx: 3 }),
  );
}
