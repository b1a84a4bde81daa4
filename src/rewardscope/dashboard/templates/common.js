"use strict";
// Text of models is only ever shown as text nodes: nothing here builds HTML from strings.
const data = JSON.parse(document.getElementById("data").textContent);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
// Replace what a node holds, by whatever `el` takes for children.
const put = (node, ...children) => { node.replaceChildren(); return fill(node, {}, children); };
const byName = id => document.getElementById(id);

// Pieces of data lie beside the page as scripts that call `take`: a page from disk may load a script, but not read a file.
const pieces = new Map();
function take(name, value) { Object.assign(pieces.get(name), { taken: true }).resolve(value); }
function load(name) {
  if (!pieces.has(name)) {
    const piece = {};
    piece.promise = new Promise((resolve, reject) => Object.assign(piece, { resolve, reject }));
    pieces.set(name, piece);
    const failed = () => { pieces.delete(name); piece.reject(new Error(`${name}.js is not beside this page, or not whole`)); };
    document.head.append(el("script", { src: `${name}.js`, onerror: failed, onload: () => piece.taken || failed() }));
  }
  return pieces.get(name).promise;
}
const layerName = layer => `layer_${String(layer).padStart(2, "0")}`;
const pieceNumber = number => String(number).padStart(4, "0");

const known = value => value !== null && value !== undefined;
function percent(share) {
  if (!known(share)) return "–";
  const value = 100 * share;
  return `${value === 0 || value >= 10 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2)} %`;
}
function number(value, digits = 3) {
  if (!known(value)) return "–";
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
}
const fixed = (value, digits = 2) => known(value) ? value.toFixed(digits) : "–";
const signed = (value, digits = 2) => known(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}` : "–";
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const kindColour = kind => `var(--k-${kind})`;
const kindName = kind => ({ unicode: "Unicode symbol", step_tag: "step tag" })[kind] || kind.replaceAll("_", " ");
const setColours = ["var(--instruct)", "var(--reasoning)", "var(--accent)", "var(--k-digit)", "var(--k-punctuation)", "var(--k-word)"];
const setColour = number => setColours[number % setColours.length];

// Names of data sets without what all of them share, as in "instruct" and "reasoner"; the whole name is in the tooltip.
function labels(names) {
  if (names.length < 2) return names.map(name => name.replace(/^math-[a-z]+-/, ""));
  const parts = names.map(name => name.split(/(?<=[-_])|(?=[-_])/)), least = Math.min(...parts.map(p => p.length)) - 1;
  const shared = at => parts.every(p => at(p) === at(parts[0]));
  let head = 0, tail = 0;
  while (head < least && shared(p => p[head])) head++;
  while (tail < least - head && shared(p => p[p.length - 1 - tail])) tail++;
  const left = parts.map(p => p.slice(head, p.length - tail).join("").replace(/^[-_]+|[-_]+$/g, ""));
  return new Set(left).size === names.length && left.every(Boolean) ? left : names;
}

// What cannot be seen gets a sign: line breaks, tabs, blanks at an end or in a row. What would turn the text round it, or steer a terminal,
// is named by its number.
const HIDDEN = "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]";
const SIGNS = { "\n": "↵", "\t": "⇥", "\r": "␍" };
const ALONE = new RegExp(`([\\n\\t\\r]| {2,}|^ | $|${HIDDEN})`), RUNNING = new RegExp(`([\\n\\t\\r]| {2,}|${HIDDEN})`);
const sign = part => SIGNS[part] || (part.startsWith(" ") ? "␣".repeat(part.length) : `U+${part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
// The text as nodes; in running text single blanks stay blanks, and lines break where `lines` says so.
function shown(text, { running = false, lines = false } = {}) {
  return text.split(running ? RUNNING : ALONE).map((part, i) => i % 2 === 0 ? part : [el("span", { class: "sign" }, sign(part)), lines && part === "\n" ? "\n" : null]);
}
// The same as one string, for tooltips and names.
const visible = text => text.split(ALONE).map((part, i) => i % 2 === 0 ? part : sign(part)).join("");

// A stacked bar of shares with its legend; shares below 1 % have no entry in the legend.
function stack(kinds, shares) {
  const order = kinds.map((kind, i) => [kind, shares[i]]).filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);
  return [
    el("div", { class: "stack" }, order.map(([kind, share]) =>
      el("i", { style: `width:${100 * share}%;background:${kindColour(kind)}`, title: `${kindName(kind)} ${percent(share)}` }))),
    el("div", { class: "legend" }, order.filter(([, share]) => share >= 0.01).map(([kind, share]) =>
      el("span", {}, el("i", { class: "dot", style: `background:${kindColour(kind)}` }), `${kindName(kind)} ${percent(share)}`))),
  ];
}

function stored(name) { try { return localStorage.getItem(name); } catch { return null; } }
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("theme"));
}
const asked = new URLSearchParams(location.search).get("theme");
setTheme(asked || stored("rewardscope-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
byName("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(theme);
  try { localStorage.setItem("rewardscope-theme", theme); } catch { /* a page from disk may have no storage */ }
});
