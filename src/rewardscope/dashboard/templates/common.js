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
const kindName = kind => ({ unicode: "Unicode symbol", step_tag: "step tag" })[kind] || kind;
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

// Line breaks, tabs and lone spaces have to be seen.
function visible(text) {
  const shown = text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/\r/g, "␍");
  return /^ +$/.test(shown) ? shown.replace(/ /g, "·") : shown;
}

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
function setTheme(theme) { document.documentElement.dataset.theme = theme; }
const asked = new URLSearchParams(location.search).get("theme");
setTheme(asked || stored("rewardscope-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(theme);
  try { localStorage.setItem("rewardscope-theme", theme); } catch { /* a page from disk may have no storage */ }
});
