const favours = f => f.diffs.find(d => d[6] !== "neither")?.[6] || null;
const meanDifference = f => f.diffs.length ? f.diffs.reduce((sum, d) => sum + d[1], 0) / f.diffs.length : null;
const mainKind = f => data.categories[f.kinds.indexOf(Math.max(...f.kinds))];
const byId = new Map(data.features.map(f => [f.id, f]));
const compared = data.pairs.length > 0;
const setLabels = labels(data.data_sets.map(set => set.name));
const labelOf = name => setLabels[data.data_sets.findIndex(set => set.name === name)] || name;
const stepTags = new Set(data.segments.flatMap(([, , codes, marks]) => marks.map(([at]) => data.tokens[codes[at]])));
const chip = text => stepTags.has(text) ? el("span", { class: "mark", title: "end of a step" }, "step end") : el("span", { class: "tok" }, visible(text));
const sides = f => new Set(f.diffs.map(d => d[6]));

// Columns of the list: name, value to sort by, cell, and what it means.
const columns = [
  { key: "id", name: "feature", value: f => f.id, cell: f => `${f.id}`, help: "number of the feature" },
  { key: "words", name: "fires on", value: f => mainKind(f), class: "words", help: "tokens with most of its activation; sorts by the kind of token",
    cell: f => [el("i", { class: "dot", style: `background:${kindColour(mainKind(f))}`, title: kindName(mainKind(f)) }),
      f.texts.slice(0, 2).map(([text]) => [chip(text), " "])] },
  { key: "rate", name: "rate", value: f => f.rate, cell: f => percent(f.rate), help: "share of rows on which it fires" },
  { key: "mean", name: "mean", class: "wide", value: f => f.mean, cell: f => number(f.mean), help: "mean activation where it fires" },
  { key: "max", name: "max", class: "wide", value: f => f.max, cell: f => number(f.max), help: "largest activation" },
  { key: "mass", name: "mass", class: "wide", value: f => f.mass, cell: f => number(f.mass, 2), help: "activation summed over all rows" },
  { key: "reward", name: "reward Δ", value: f => f.reward.difference?.[0], cell: f => delta(f.reward), help: "mean PRM score at step ends where it fires, less elsewhere" },
  { key: "right", name: "right Δ", class: "wide", value: f => f.right.difference?.[0], cell: f => delta(f.right), help: "share of step ends in right traces where it fires, less elsewhere" },
  compared && { key: "diff", name: "R − I", value: meanDifference, help: "firing rate on reasoning less on instruct data, mean over pairs",
    cell: f => el("span", { style: favours(f) ? `color:var(--${favours(f)})` : "color:var(--soft)" }, signed(100 * meanDifference(f), 1)) },
].filter(Boolean);

function delta(contrast) {
  const d = contrast.difference;
  if (!d) return "–";
  const clear = d[1] > 0 || d[2] < 0;
  return el("span", { class: clear ? (d[0] > 0 ? "up" : "down") : "soft" }, signed(d[0]));
}

const state = { sort: "mass", falling: true, chosen: null, shown: [] };

function drawSummary() {
  const q = data.quality;
  const facts = [
    ["features", `${data.features.length} shown of ${number(data.n_firing)} that fire, ${number(data.n_features)} in all`],
    ["active a row", (q ? fixed(q.l0.value, 1) : "–") + (data.k ? ` of at most ${data.k}` : "")],
    q && ["variance left", percent(q.fvu.value) + (known(q.fvu.low) ? ` (${percent(q.fvu.low)} to ${percent(q.fvu.high)})` : "")],
    q && ["measured on", `${count(q.n_rows, "row")} of ${count(q.n_problems, "held-out problem")}`],
  ].filter(Boolean);
  const sets = data.data_sets.map((set, i) => el("div", {}, el("i", { class: "dot", style: `background:${setColour(i)}` }), el("span", { title: set.name }, setLabels[i]),
    el("span", { class: "soft num" }, ` ${count(set.rows, "row")}, ${count(set.traces, "trace")}, ${count(set.problems, "problem")}${set.every_token ? "" : ", step ends only"}`)));
  document.getElementById("summary").append(
    el("dl", { class: "panel facts" }, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]), el("div", { class: "sets" }, sets)),
    el("div", { class: "panel map" }, el("h3", {}, "Every feature: how often it fires, and the reward where it does"), drawMap()),
  );
}

function drawMap() {
  const wide = Math.min(900, Math.max(320, document.documentElement.clientWidth - 80)); // small screens get a small drawing, not small text
  const W = wide, H = 190, left = 44, right = 10, top = 8, bottom = 30;
  const points = data.features.filter(f => f.reward.difference);
  if (!points.length) return el("p", { class: "soft" }, "No feature fires at the step ends of enough problems to compare.");
  const xs = points.map(f => Math.log10(f.rate)), ys = points.map(f => f.reward.difference[0]);
  const x0 = Math.min(...xs) - .1, x1 = Math.max(...xs) + .1, reach = 1.1 * Math.max(.01, ...ys.map(Math.abs));
  const X = v => left + (v - x0) / (x1 - x0) * (W - left - right), Y = v => top + (reach - v) / (2 * reach) * (H - top - bottom);
  const ticks = [1e-4, 2e-4, 5e-4, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1].filter(t => Math.log10(t) >= x0 && Math.log10(t) <= x1);
  const most = Math.max(...points.map(f => f.mass));
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Firing rate against reward difference" },
    ticks.map(t => [svg("line", { class: "axis", x1: X(Math.log10(t)), x2: X(Math.log10(t)), y1: top, y2: H - bottom }),
      svg("text", { x: X(Math.log10(t)), y: H - bottom + 13, "text-anchor": "middle" }, percent(t))]),
    svg("line", { class: "zero", x1: left, x2: W - right, y1: Y(0), y2: Y(0) }),
    [reach / 1.1, 0, -reach / 1.1].map(v => svg("text", { x: left - 6, y: Y(v) + 3, "text-anchor": "end" }, v ? signed(v) : "0")),
    svg("text", { x: W - right, y: H - 3, "text-anchor": "end" }, "share of rows where it fires →"),
    svg("text", { x: left, y: H - 3 }, W > 600 ? "↑ reward Δ; colour: kind of token; size: activation in all" : "↑ reward Δ"),
    points.map((f, i) => svg("circle", { cx: X(xs[i]), cy: Y(ys[i]), r: 3 + 7 * Math.sqrt(f.mass / most), fill: kindColour(mainKind(f)), "data-id": f.id, onclick: () => choose(f.id, true) },
      svg("title", {}, `${f.id}: ${f.texts.slice(0, 3).map(([text]) => visible(text)).join("  ")}\nrate ${percent(f.rate)}, reward ${signed(ys[i])}`))));
}

function matches(f, words, kind, side) {
  if (kind && mainKind(f) !== kind) return false;
  if (side && !sides(f).has(side)) return false;
  if (!words) return true;
  if (/^\d+$/.test(words) && String(f.id).startsWith(words)) return true;
  return kindName(mainKind(f)).toLowerCase().includes(words) || f.texts.some(([text]) => visible(text).toLowerCase().includes(words));
}

function drawList() {
  const words = document.getElementById("search").value.trim().toLowerCase();
  const kind = document.getElementById("kind").value, side = document.getElementById("side").value;
  const column = columns.find(c => c.key === state.sort), direction = state.falling ? -1 : 1;
  state.shown = data.features.filter(f => matches(f, words, kind, side)).sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (!known(x) || !known(y)) return known(y) - known(x); // what is not known comes last in either direction
    return direction * (x < y ? -1 : x > y ? 1 : 0) || a.id - b.id;
  });
  document.querySelector("#features thead").replaceChildren(el("tr", {}, columns.map(c =>
    el("th", { class: c.class, title: c.help, "aria-sort": c.key === state.sort ? (state.falling ? "descending" : "ascending") : null },
      el("button", { type: "button", onclick: () => sortBy(c.key) }, c.name)))));
  document.querySelector("#features tbody").replaceChildren(...state.shown.map(f =>
    el("tr", { "data-id": f.id, tabindex: 0, onclick: () => choose(f.id, true), onkeydown: e => e.key === "Enter" && choose(f.id, true) },
      columns.map(c => el("td", { class: c.class }, c.cell(f))))));
  document.getElementById("count").textContent = state.shown.length === data.features.length
    ? count(state.shown.length, "feature") : `${state.shown.length} of ${count(data.features.length, "feature")}`;
  const ids = new Set(state.shown.map(f => f.id));
  document.querySelectorAll(".map circle").forEach(c => c.classList.toggle("off", !ids.has(Number(c.dataset.id))));
  markChosen();
}

function sortBy(key) {
  state.falling = state.sort === key ? !state.falling : !["id", "words"].includes(key);
  state.sort = key;
  drawList();
}

function markChosen() {
  document.querySelectorAll("[data-id]").forEach(node => node.classList.toggle("on", Number(node.dataset.id) === state.chosen));
}

function choose(id, open) {
  state.chosen = id;
  history.replaceState(null, "", `#${id}`);
  document.body.classList.toggle("open", open);
  markChosen();
  drawDetail(byId.get(id));
  if (open && getComputedStyle(document.getElementById("back")).display !== "none") scrollTo(0, 0);
}

function move(step) {
  const at = state.shown.findIndex(f => f.id === state.chosen);
  const next = state.shown[Math.min(state.shown.length - 1, Math.max(0, at + step))];
  if (!next) return;
  choose(next.id, document.body.classList.contains("open"));
  document.querySelector(`tr[data-id="${next.id}"]`)?.scrollIntoView({ block: "nearest" });
}

function drawDetail(f) {
  const side = favours(f);
  document.getElementById("detail").replaceChildren(
    el("div", { class: "head" },
      el("button", { id: "back", type: "button", onclick: () => document.body.classList.remove("open") }, "‹ all features"),
      el("h1", {}, `Feature ${f.id}`),
      el("span", { class: "chip", style: `color:${kindColour(mainKind(f))}` }, kindName(mainKind(f))),
      side && el("span", { class: `chip ${side}` }, `favours ${side}`),
      el("div", { class: "step" }, el("button", { type: "button", title: "previous (k)", onclick: () => move(-1) }, "‹"), el("button", { type: "button", title: "next (j)", onclick: () => move(1) }, "›"))),
    el("div", { class: "texts" }, f.texts.map(([text, share]) => el("span", {}, chip(text), el("small", {}, percent(share))))),
    el("div", { class: "tiles" },
      el("div", { class: "tile" }, el("h3", {}, "Fires on"), el("b", {}, percent(f.rate)), el("small", {}, `${number(f.n)} rows`)),
      el("div", { class: "tile" }, el("h3", {}, "Activation"), el("b", {}, number(f.mean)), el("small", {}, `mean where it fires, at most ${number(f.max)}`)),
      contrastTile("PRM score", f.reward), contrastTile("In right traces", f.right)),
    el("div", { class: "pair" },
      el("div", {}, el("h3", {}, "Activations where it fires"), histogram(f.hist, i => [`${number(i * f.max / f.hist.length, 2)} to ${number((i + 1) * f.max / f.hist.length, 2)}: ${count(f.hist[i], "row")}`], ["0", number(f.max)])),
      el("div", {}, el("h3", {}, "Firing rate by step"), stepChart(f))),
    el("div", { class: "pair" },
      el("div", {}, el("h3", {}, "Activation by kind of token"), stack(data.categories, f.kinds)),
      el("div", {}, el("h3", {}, "Firing rate by data set"), ratesChart(f))),
    f.diffs.length > 0 && el("div", { class: "panel" }, el("h3", {}, "Reasoning against instruct data"), compareTable(f)),
    el("div", {}, el("h3", {}, "Strongest contexts"), el("div", { class: "contexts" }, f.examples.map(example => drawContext(f, example)))),
  );
}

function contrastTile(name, contrast) {
  const d = contrast.difference;
  return el("div", { class: "tile" }, el("h3", {}, name),
    el("b", {}, fixed(contrast.fires)), el("small", {}, `${fixed(contrast.elsewhere)} elsewhere`),
    d ? [el("div", { class: d[1] > 0 ? "up" : d[2] < 0 ? "down" : "soft" }, whisker(d)), el("small", { title: `95 % interval, clustered by ${count(d[3], "problem")}` }, `Δ ${signed(d[0])} [${signed(d[1])}, ${signed(d[2])}]`, el("br"), `at ${count(contrast.n_fires, "step end")}`)]
      : el("small", { class: "lone" }, contrast.n_fires ? `${count(contrast.n_fires, "step end")} of ${count(contrast.n_problems, "problem")}: too few to compare` : "fires at no step end"));
}

function whisker([value, low, high]) {
  const reach = Math.max(Math.abs(low), Math.abs(high), .05), X = v => 100 + 95 * v / reach;
  return svg("svg", { viewBox: "0 0 200 14", class: "whisker" }, svg("line", { class: "axis", x1: 0, x2: 200, y1: 7, y2: 7 }),
    svg("line", { class: "zero", x1: 100, x2: 100, y1: 0, y2: 14 }), svg("line", { class: "span", x1: X(low), x2: X(high), y1: 7, y2: 7 }), svg("circle", { cx: X(value), cy: 7, r: 3.5 }));
}

function histogram(values, title, ends) {
  const W = 360, H = 92, base = 76, most = Math.max(...values.map(v => v || 0), 1e-9), w = W / values.length;
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "hist" },
    values.map((v, i) => known(v) && v > 0 && svg("rect", { x: i * w + .75, width: w - 1.5, y: base - Math.max(1.5, v / most * (base - 6)), height: Math.max(1.5, v / most * (base - 6)), rx: 1.5 }, svg("title", {}, title(i)))),
    svg("line", { class: "axis", x1: 0, x2: W, y1: base + .5, y2: base + .5 }),
    svg("text", { x: 0, y: H - 3 }, ends[0]), svg("text", { x: W, y: H - 3, "text-anchor": "end" }, ends[1]));
}

function stepChart(f) {
  const last = data.step_rows.reduce((end, rows, i) => rows ? i + 1 : end, 0);
  if (!last) return el("p", { class: "soft" }, "No steps.");
  const name = i => i === data.step_rows.length - 1 ? `steps from ${i + 1}` : `step ${i + 1}`;
  return histogram(f.steps.slice(0, last), i => `${name(i)}: ${percent(f.steps[i])} of ${count(data.step_rows[i], "row")}`, ["step 1", name(last - 1)]);
}

function ratesChart(f) {
  const most = Math.max(...f.rates, 1e-9);
  return el("div", { class: "rates" }, data.data_sets.map((set, i) => [
    el("span", { title: set.name }, setLabels[i]), el("span", { class: "bar" }, el("i", { style: `width:${100 * f.rates[i] / most}%;background:${setColour(i)}` })), el("span", {}, percent(f.rates[i]))]));
}

function compareTable(f) {
  return el("table", { class: "compare" }, el("tr", {}, ["", "difference of rates", "log₂ ratio", "q"].map(name => el("th", {}, name))),
    f.diffs.map(([pair, value, low, high, ratio, q, side]) => el("tr", {},
      el("td", { title: data.pairs[pair].join(" − ") }, data.pairs[pair].map(labelOf).join(" − ")),
      el("td", { style: side === "neither" ? null : `color:var(--${side})` }, `${signed(100 * value, 1)} % ${known(low) ? `[${signed(100 * low, 1)}, ${signed(100 * high, 1)}]` : "–"}`),
      el("td", {}, signed(ratio, 1)), el("td", {}, q < .001 ? "< 0.001" : number(q, 2)))));
}

function drawContext(f, [number_, peak, start, end, values]) {
  const [traceNumber, first, codes, marks, more] = data.segments[number_];
  const trace = data.traces[traceNumber], active = new Map(values), stepEnds = new Map(marks.map(([at, step, score]) => [at, { step, score }]));
  const tokens = [];
  for (let at = start; at < end; at++) tokens.push(drawToken(f, data.tokens[codes[at]], active.get(at), at === peak, stepEnds.get(at)));
  return el("div", { class: "context" },
    el("div", { class: "from" },
      el("span", { title: data.data_sets[trace.data_set].name }, el("i", { class: "dot", style: `background:${setColour(trace.data_set)}` }), `${setLabels[trace.data_set]}: ${trace.problem}, trace ${trace.trace}`),
      el("span", {}, `token ${first + peak}`),
      known(trace.correct) && el("span", { class: trace.correct ? "up" : "down" }, trace.correct ? "✓ right" : "✗ wrong"),
      el("b", {}, number(active.get(peak)))),
    el("div", { class: "text" }, first + start > 0 && el("span", { class: "more" }, "… "), tokens, (more || end < codes.length) && el("span", { class: "more" }, " …")));
}

function drawToken(f, text, activation, isPeak, stepEnd) {
  const title = activation ? `activation ${number(activation)}` : null;
  if (stepEnd) {
    const where = `end of step ${stepEnd.step}${known(stepEnd.score) ? `, PRM score ${stepEnd.score}` : ""}${title ? `, ${title}` : ""}`;
    return el("span", { class: `mark${activation ? " hot" : ""}${isPeak ? " peak" : ""}`, title: where }, known(stepEnd.score) ? fixed(stepEnd.score) : "▪");
  }
  const broken = text.includes("\n");
  const style = activation ? `background:rgba(var(--heat), ${(.12 + .78 * activation / f.max).toFixed(2)})` : null;
  return el("span", { class: `${isPeak ? "peak" : ""}${broken ? " space" : ""}`.trim() || null, style, title }, activation || broken ? visible(text) : text);
}

function start() {
  const kinds = [...new Set(data.features.map(mainKind))];
  document.getElementById("kind").append(el("option", { value: "" }, "all kinds"), ...data.categories.filter(k => kinds.includes(k)).map(k => el("option", { value: k }, kindName(k))));
  const side = document.getElementById("side");
  if (compared) side.append(el("option", { value: "" }, "either side"), el("option", { value: "reasoning" }, "favours reasoning"), el("option", { value: "instruct" }, "favours instruct"));
  else side.remove();
  if (!compared) document.getElementById("controls").append(el("input", { id: "side", type: "hidden", value: "" }));
  drawSummary();
  for (const id of ["search", "kind", "side"]) document.getElementById(id).addEventListener("input", drawList);
  document.getElementById("controls").addEventListener("submit", event => event.preventDefault());
  document.addEventListener("keydown", event => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.key === "j") move(1);
    if (event.key === "k") move(-1);
    if (event.key === "/") { event.preventDefault(); document.getElementById("search").focus(); }
  });
  drawList();
  const asked = Number(location.hash.slice(1));
  const linked = location.hash.length > 1 && byId.has(asked);
  if (state.shown.length) choose(linked ? asked : state.shown[0].id, linked);
}
start();
