const compared = data.pairs.length > 0;
const state = { features: [], byId: new Map(), tokens: [], sort: "mass", falling: true, chosen: null, shown: [], drawn: 0 };
const ROWS = 150; // rows of the list that are drawn at a time

// Columns of the list: name, value to sort by, cell, and what it means; `least` is the width in pixels that the list must have for it.
const columns = [
  { key: "id", name: "feature", value: f => f.id, cell: f => `${f.id}`, help: "number of the feature" },
  { key: "words", name: "fires on", value: f => f.kind, class: "words", help: "tokens with most of its activation; sorts by the kind of token",
    cell: f => [el("i", { class: "dot", style: `background:${kindColour(f.kind)}`, title: kindName(f.kind) }), f.texts.slice(0, 2).map(([text]) => [chip(text), " "])] },
  { key: "rate", name: "rate", value: f => f.rate, cell: f => percent(f.rate), help: "share of rows on which it fires" },
  ...data.data_sets.map((set, d) => ({ key: `rate${d}`, name: setLabels[d], least: 980, value: f => f.rates[d], cell: f => percent(f.rates[d]), help: `share of rows of ${set.name} on which it fires` })),
  { key: "share", name: "purity", least: 900, value: f => f.share, cell: f => percent(f.share), help: "share of its activation on its main kind of token" },
  { key: "mean", name: "mean", least: 760, value: f => f.mean, cell: f => number(f.mean), help: "mean activation where it fires" },
  { key: "max", name: "max", least: 700, value: f => f.max, cell: f => number(f.max), help: "largest activation" },
  { key: "mass", name: "mass", least: 430, value: f => f.mass, cell: f => number(f.mass, 2), help: "activation summed over all rows" },
  { key: "reward", name: "reward Δ", value: f => f.reward, cell: f => delta(f.reward), help: "mean PRM score at step ends where it fires, less elsewhere; the interval is in the card" },
  { key: "right", name: "right Δ", least: 540, value: f => f.right, cell: f => delta(f.right), help: "share of step ends in right traces where it fires, less elsewhere; the interval is in the card" },
  compared && { key: "diff", name: "R − I", least: 420, value: f => f.diff, help: "firing rate on reasoning less on instruct data, in %, mean over pairs",
    cell: f => el("span", { style: f.side === "neither" ? "color:var(--soft)" : `color:var(--${f.side})` }, known(f.diff) ? signed(100 * f.diff, 1) : "–") },
  !data.direction.why_not && { key: "cosine", name: "cos r", least: 480, value: f => f.cosine, cell: f => signed(f.cosine), help: "cosine of its decoder direction with the reward direction" },
].filter(Boolean);
const delta = value => el("span", { class: !known(value) || Math.abs(value) < .005 ? "soft" : value > 0 ? "up" : "down" }, signed(value));

function drawSummary() {
  const q = data.quality;
  const facts = [
    ["features", `${number(data.n_firing)} of ${number(data.n_features)} fire${data.n_shown < data.n_firing ? `, ${number(data.n_shown)} with contexts` : ""}`],
    ["active a row", (q ? fixed(q.l0.value, 1) : "–") + (data.k ? ` of at most ${data.k}` : "")],
    q && ["variance left", percent(q.fvu.value) + (known(q.fvu.low) ? ` (${percent(q.fvu.low)} to ${percent(q.fvu.high)})` : "")],
    q && ["measured on", `${count(q.n_rows, "row")} of ${count(q.n_problems, "held-out problem")}`],
    ["reward direction", data.direction.why_not ? `none: ${data.direction.why_not}` : `head of ${data.direction.prm.split("/").pop()}`],
  ].filter(Boolean);
  const sets = data.data_sets.map((set, i) => el("div", {}, el("i", { class: "dot", style: `background:${setColour(i)}` }), el("span", { title: set.name }, setLabels[i]),
    el("span", { class: "soft num" }, ` ${count(set.rows, "row")}, ${count(set.traces, "trace")}, ${count(set.problems, "problem")}${set.every_token ? "" : ", step ends only"}`)));
  byName("summary").append(
    el("dl", { class: "panel facts" }, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]), el("div", { class: "sets" }, sets)),
    el("div", { class: "panel map" }, el("h3", {}, "Every feature: how often it fires, and the reward where it does"), el("div", { id: "map" })));
}

function drawList() {
  const kind = byName("kind").value, side = byName("side").value, isMeant = finder(byName("search").value, state.tokens, data.step_tags);
  const column = columns.find(c => c.key === state.sort), direction = state.falling ? -1 : 1;
  const values = new Map();
  state.shown = state.features.filter(f => (!kind || f.kind === kind) && (!side || f.side === side) && isMeant(f) > 0);
  for (const f of state.shown) values.set(f, column.value(f));
  state.shown.sort((a, b) => {
    const x = values.get(a), y = values.get(b);
    if (!known(x) || !known(y)) return known(y) - known(x); // what is not known comes last in either direction
    return direction * (x < y ? -1 : x > y ? 1 : 0) || a.id - b.id;
  });
  byName("features").tHead.replaceChildren(el("tr", {}, inView().map(c =>
    el("th", { class: c.class, title: c.help, "aria-sort": c.key === state.sort ? (state.falling ? "descending" : "ascending") : null },
      el("button", { type: "button", onclick: () => sortBy(c.key) }, c.name)))));
  byName("features").tBodies[0].replaceChildren();
  state.drawn = 0;
  drawMore();
  byName("sort").value = state.sort;
  byName("count").textContent = state.shown.length === state.features.length
    ? count(state.shown.length, "feature") : `${state.shown.length.toLocaleString("en")} of ${count(state.features.length, "feature")}`;
  drawMap();
}

// The columns for which there is room; the one that is sorted by is always there.
function inView() {
  const width = byName("scroll").clientWidth || 1000;
  return columns.filter(c => c.key === state.sort || width >= (c.least || 0));
}

function drawMore(upTo = state.drawn + ROWS) {
  const shownColumns = inView(), body = byName("features").tBodies[0];
  const rows = state.shown.slice(state.drawn, upTo).map(f =>
    el("tr", { "data-id": f.id, tabindex: 0, class: f.id === state.chosen ? "on" : null, onclick: () => choose(f.id, true), onkeydown: e => e.key === "Enter" && choose(f.id, true) },
      shownColumns.map(c => el("td", { class: c.class }, c.cell(f)))));
  body.append(...rows);
  state.drawn += rows.length;
  byName("more").hidden = state.drawn >= state.shown.length;
  byName("more").textContent = `${(state.shown.length - state.drawn).toLocaleString("en")} more`;
}

function sortBy(key) {
  state.falling = state.sort === key ? !state.falling : !["id", "words"].includes(key);
  state.sort = key;
  drawList();
}

function markChosen() {
  document.querySelectorAll("tr[data-id]").forEach(row => row.classList.toggle("on", Number(row.dataset.id) === state.chosen));
  drawMap();
}

async function choose(id, open) {
  const f = state.byId.get(id);
  state.chosen = id;
  history.replaceState(null, "", `#${id}`);
  document.body.classList.toggle("open", open);
  markChosen();
  if (open && getComputedStyle(byName("back") || document.body).display !== "none" && innerWidth <= 960) scrollTo(0, 0);
  if (f.place < 0) return drawListed(f);
  try {
    const piece = await load(`${layerName(data.layer)}/${pieceNumber(Math.floor(f.place / data.piece))}`);
    if (state.chosen === id) drawCard(f, piece.features[f.place % data.piece], piece);
  } catch (error) {
    if (state.chosen === id) drawListed(f, error.message);
  }
}

function move(step) {
  const at = Math.min(state.shown.length - 1, Math.max(0, state.shown.findIndex(f => f.id === state.chosen) + step));
  if (!state.shown[at]) return;
  if (at >= state.drawn) drawMore(at + ROWS);
  choose(state.shown[at].id, document.body.classList.contains("open"));
  document.querySelector(`tr[data-id="${state.shown[at].id}"]`)?.scrollIntoView({ block: "nearest" });
}

function offer(name, choices) {
  if (choices.length) byName(name).append(...choices.map(([value, label]) => el("option", { value }, label)));
  else byName(name).hidden = true;
}

function listen() {
  for (const name of ["search", "kind", "side"]) byName(name).addEventListener("input", drawList);
  byName("sort").addEventListener("input", () => { state.falling = !["id", "words"].includes(byName("sort").value); state.sort = byName("sort").value; drawList(); });
  byName("controls").addEventListener("submit", event => event.preventDefault());
  byName("more").addEventListener("click", () => drawMore());
  byName("scroll").addEventListener("scroll", () => {
    const box = byName("scroll");
    if (state.drawn < state.shown.length && box.scrollTop + box.clientHeight > box.scrollHeight - 600) drawMore();
  });
  let width = innerWidth, pause;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; clearTimeout(pause); pause = setTimeout(drawList, 100); } });
  addEventListener("theme", drawMap);
  addEventListener("hashchange", () => { const id = Number(location.hash.slice(1)); if (state.byId.has(id) && id !== state.chosen) choose(id, true); });
  document.addEventListener("keydown", event => {
    if (["INPUT", "SELECT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") move(1);
    if (event.key === "k") move(-1);
    if (event.key === "/") { event.preventDefault(); byName("search").focus(); }
  });
}

async function start() {
  drawSummary();
  let listed;
  try {
    listed = await load(`${layerName(data.layer)}/list`);
  } catch (error) {
    byName("count").textContent = error.message;
    return;
  }
  Object.assign(state, { features: readFeatures(listed, data), tokens: listed.tokens });
  for (const f of state.features) state.byId.set(f.id, f);
  const kinds = new Set(state.features.map(f => f.kind));
  offer("kind", [["", "all kinds"], ...data.categories.filter(k => kinds.has(k)).map(k => [k, kindName(k)])]);
  offer("side", compared ? [["", "either side"], ["reasoning", "favours reasoning"], ["instruct", "favours instruct"]] : []);
  offer("sort", columns.map(c => [c.key, `by ${c.name}`]));
  listen();
  drawList();
  const wanted = Number(location.hash.slice(1)), linked = location.hash.length > 1 && state.byId.has(wanted);
  if (state.shown.length) choose(linked ? wanted : state.shown[0].id, linked);
  document.documentElement.dataset.ready = "list";
}
start();
