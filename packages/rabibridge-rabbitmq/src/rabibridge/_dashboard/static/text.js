// Makes elements and shows text from outside. Whatever workers, callers and brokers say is put into text nodes, never
// into markup, and characters that would reorder or hide what follows are written as their code points.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const HIDDEN_OR_BREAK = new RegExp(HIDDEN.source.replace("\\u0008\\u000b-", ""), "gu");

function code(character) {
  return `\\u{${character.codePointAt(0).toString(16)}}`;
}

/** One line of text from outside. */
export function shown(text) {
  return String(text).replace(HIDDEN_OR_BREAK, code);
}

/** Several lines of text from outside, such as a traceback. */
export function shownLines(text) {
  return String(text).replace(HIDDEN, code);
}

/** An element with attributes and children; a child that is no node becomes text. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for a picture. */
export function picture(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(number) {
  return number === null || number === undefined ? "–" : WHOLE.format(number);
}

export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number > 0 && number < 10 ? number.toFixed(1) : WHOLE.format(number);
}

/** A limit of calls per second, which may be a few a day. */
export function limit(number) {
  return number > 0 && number < 0.1 ? String(Number(number.toPrecision(2))) : rate(number);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} d`;
}

export function size(bytes) {
  return bytes === null || bytes === undefined ? "–" : `${WHOLE.format(bytes / 2 ** 20)} MiB`;
}

export function clock(seconds) {
  return seconds === null || seconds === undefined ? "–" : new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}
