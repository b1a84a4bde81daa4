const state = { at: 0, problem: null, tokens: [], columns: [], by: "score", layer: data.layers[0], feature: null, firings: new Map(), features: new Map() };
const MOST = 3; // traces side by side

function drawProblems() {
  const words = byName("search").value.trim().toLowerCase();
  const found = data.problems.map((p, at) => ({ ...p, at })).filter(p => !words || `${p.id} ${p.start}`.toLowerCase().includes(words));
  byName("problems").replaceChildren(el("ul", { class: "plain" }, found.map(p => el("li", {},
    el("button", { type: "button", class: "problem", "aria-current": p.at === state.at ? "true" : null, onclick: () => open(p.at, true) },
      el("b", {}, el("bdi", {}, shown(p.id, { running: true }))), el("small", {}, p.graded ? `${p.right} of ${p.graded} right` : count(p.traces, "trace")),
      p.start && el("span", {}, el("bdi", {}, shown(p.start, { running: true }))))))));
  byName("count").textContent = `${found.length} of ${count(data.n_problems, "problem")}`;
}

async function open(at, chosen) {
  state.at = at;
  document.body.classList.toggle("open", Boolean(chosen));
  drawProblems();
  try {
    const piece = await load(`traces/${pieceNumber(Math.floor(at / data.piece))}`);
    if (state.at !== at) return;
    state.problem = piece.problems[at % data.piece];
    state.tokens = piece.tokens;
    state.columns = firstColumns(state.problem.traces);
    await readFirings();
    draw();
  } catch (error) {
    byName("columns").replaceChildren(el("p", { class: "soft" }, error.message));
  }
}

// One trace of each source, as far as there is room.
function firstColumns(traces) {
  const room = innerWidth < 700 ? 1 : innerWidth < 1500 ? 2 : MOST, found = [];
  for (const source of new Set(traces.map(t => t.source))) if (found.length < room) found.push(traces.findIndex(t => t.source === source));
  return found;
}

async function readFirings() {
  if (state.by !== "feature") return;
  const [listed, rows] = await Promise.all([load(`${layerName(state.layer)}/list`), load(`${layerName(state.layer)}/traces_${pieceNumber(Math.floor(state.at / data.piece))}`)]);
  state.firings = new Map(rows.map(([set, line, found]) => [`${set} ${line}`, byToken(found)]));
  if (!state.features.has(state.layer)) {
    const c = listed.columns, text = code => code < 0 ? null : listed.tokens[code];
    state.features.set(state.layer, new Map(c.id.map((id, i) => [id, { max: c.max[i], texts: c.texts[i].map(code => [text(code)]) }])));
  }
}
function byToken({ token, feature, value }) {
  const found = new Map();
  token.forEach((at, i) => { if (!found.has(at)) found.set(at, []); found.get(at).push([feature[i], value[i]]); });
  return found;
}

function draw() {
  const p = state.problem;
  put(byName("question"),
    el("button", { id: "back", type: "button", onclick: () => document.body.classList.remove("open") }, "‹ all problems"),
    el("h1", {}, el("bdi", {}, shown(p.id, { running: true }))),
    el("p", { class: "text" }, p.question ? shown(p.question, { running: true, lines: true }) : "The question stands in the prompt of the trace."),
    known(p.answer) && el("p", {}, el("span", { class: "soft" }, "right answer "), el("bdi", { class: "tok" }, shown(p.answer))));
  document.body.dataset.by = state.by;
  drawAbout();
  drawChart();
  drawTrees();
  byName("columns").replaceChildren(...state.columns.map(drawColumn),
    ...(state.columns.length < Math.min(MOST, p.traces.length) && innerWidth >= 700 ? [el("button", { type: "button", class: "add", onclick: addColumn }, "+ another trace")] : []));
  location.hash.startsWith("#feature") || history.replaceState(null, "", `#${state.at}`);
  document.documentElement.dataset.ready = "traces";
}
function addColumn() {
  state.columns.push(state.problem.traces.findIndex((_, at) => !state.columns.includes(at)));
  draw();
}

function drawAbout() {
  const feature = state.features.get(state.layer)?.get(state.feature);
  const why = state.problem.traces.some(t => t.acts) ? state.feature === null ? "which one?" : "it fires nowhere" : "no states of these traces are kept";
  byName("about").replaceChildren(...(feature
    ? [el("a", { href: `${layerName(state.layer)}.html#${state.feature}` }, `feature ${state.feature}`), " ", ...feature.texts.slice(0, 4).flatMap(([text]) => [chip(text), " "])] : [why]));
}

// The scores of all traces that are shown, by step.
function drawChart() {
  const series = state.columns.flatMap((at, column) => state.problem.traces[at].scores.map(scores => ({ column, scores, trace: state.problem.traces[at] })));
  if (!series.length) return byName("chart").replaceChildren(el("p", { class: "soft" }, "These traces have no step scores; name a scored file with --traces."));
  const W = Math.max(280, byName("chart").clientWidth - 32), H = 130, left = 34, right = 8, top = 8, bottom = 20;
  const values = series.flatMap(s => s.scores.values), low = Math.min(0, ...values), high = Math.max(1, ...values), most = Math.max(2, ...series.map(s => s.scores.values.length));
  const X = i => left + i / (most - 1) * (W - left - right), Y = v => top + (high - v) / (high - low) * (H - top - bottom);
  const dash = s => ["", "6 3", "2 3"][series.filter(other => other.column === s.column).indexOf(s) % 3];
  put(byName("chart"),
    el("h3", {}, "PRM score by step"),
    svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "lines", role: "img", "aria-label": "PRM score by step" },
      [low, (low + high) / 2, high].map(v => [svg("line", { class: "axis", x1: left, x2: W - right, y1: Y(v), y2: Y(v) }), svg("text", { x: left - 5, y: Y(v) + 3, "text-anchor": "end" }, number(v, 2))]),
      svg("text", { x: left, y: H - 4 }, "step 1"), svg("text", { x: W - right, y: H - 4, "text-anchor": "end" }, `step ${most}`),
      series.map(s => svg("g", { style: `color:${setColour(s.column)}` },
        svg("polyline", { points: s.scores.values.map((v, i) => `${X(i)},${Y(v)}`).join(" "), "stroke-dasharray": dash(s) }),
        s.scores.values.map((v, i) => svg("circle", { cx: X(i), cy: Y(v), r: 2.6 }, svg("title", {}, `step ${i + 1}: ${fixed(v)}`)))))),
    el("div", { class: "legend" }, series.map(s => el("span", {}, el("i", { class: "dot", style: `background:${setColour(s.column)}` }), `${traceName(s.trace)}, scored by ${scorerName(s.scores)}`))));
}

function drawColumn(at, column) {
  const traces = state.problem.traces, t = traces[at];
  return el("section", { class: "column panel", style: `--own:${setColour(column)}` },
    el("div", { class: "from" },
      el("select", { "aria-label": `Trace ${column + 1}`, onchange: event => { state.columns[column] = Number(event.target.value); draw(); } },
        traces.map((other, i) => el("option", { value: i, selected: i === at }, traceName(other)))),
      state.columns.length > 1 && el("button", { type: "button", "aria-label": "remove this trace", onclick: () => { state.columns.splice(column, 1); draw(); } }, "×")),
    el("p", { class: "facts-line" },
      known(t.correct) && el("span", { class: t.correct ? "up" : "down" }, t.correct ? "✓ right" : "✗ wrong"),
      known(t.answer) && el("span", {}, "answer ", el("bdi", { class: "tok" }, shown(t.answer))), el("span", { class: "soft" }, count(stepsOf(t), "step")),
      t.finish === "length" && el("span", { class: "down" }, "cut at the length limit"), state.by === "feature" && !t.acts && el("span", { class: "soft" }, "no states kept")),
    t.steps ? t.steps.map((text, step) => drawStep(t, step, shown(text, { running: true, lines: true }))) : drawTokens(t, column));
}

function drawStep(t, step, text) {
  const label = t.labels?.[step], own = t.scores[0]?.values[step];
  return el("div", { class: "step-block", style: state.by === "score" && known(own) ? `--score:${scoreColour(own)}` : null },
    el("div", { class: "step-head" }, el("span", {}, `${step + 1}`), t.scores.map(scores => el("b", { title: scorerName(scores), style: `background:${scoreColour(scores.values[step])}` }, fixed(scores.values[step]))),
      known(label) && el("span", { class: label ? "up" : "down" }, label ? "labelled right" : "labelled wrong")),
    el("div", { class: "text" }, text));
}

// A trace of states: tokens, the prompt folded away, and blocks that end at step ends.
function drawTokens(t, column) {
  const firings = state.by === "feature" && t.acts ? state.firings.get(t.acts.join(" ")) : null;
  const most = state.features.get(state.layer)?.get(state.feature)?.max || 1;
  const first = t.first || 0;
  const token = at => {
    const value = firings?.get(at)?.find(([feature]) => feature === state.feature)?.[1];
    return el("span", { "data-at": at, class: "token", style: value ? `background:rgba(var(--heat), ${(.12 + .78 * Math.min(1, value / most)).toFixed(2)})` : null, title: value ? `activation ${number(value)}` : null },
      shown(state.tokens[t.tokens[at]], { running: true, lines: true }));
  };
  const range = (start, end) => Array.from({ length: Math.max(0, end - start) }, (_, i) => token(start + i));
  const body = t.ends.map((end, step) => drawStep(t, step, range(step ? t.ends[step - 1] + 1 : first, end + 1)));
  const last = t.ends.length ? t.ends[t.ends.length - 1] + 1 : first;
  const box = el("div", { class: "tokens", tabindex: 0, role: "group", "aria-label": `Tokens of trace ${column + 1}; arrow keys choose one`,
    onclick: event => { const at = event.target.closest("[data-at]"); if (at) pickToken(box, t, Number(at.dataset.at), firings); },
    onkeydown: event => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const at = Number(box.querySelector(".picked")?.dataset.at ?? first - by) + by;
      if (box.querySelector(`[data-at="${at}"]`)) pickToken(box, t, at, firings);
    } },
    first > 0 && el("details", { class: "prompt" }, el("summary", {}, `prompt, ${count(first, "token")}`), el("div", { class: "text" }, range(0, first))), body,
    last < t.tokens.length && el("div", { class: "text soft" }, range(last, t.tokens.length)));
  return box;
}

function pickToken(box, t, at, firings) {
  document.querySelectorAll(".picked").forEach(node => node.classList.remove("picked"));
  const node = box.querySelector(`[data-at="${at}"]`);
  node.classList.add("picked");
  const found = firings?.get(at) || [], features = state.features.get(state.layer);
  byName("at").classList.add("pinned");
  put(byName("at"), el("h3", {}, `Token ${at}: `, chip(state.tokens[t.tokens[at]])),
    !firings ? el("p", { class: "soft" }, state.by === "feature" ? "No states of this trace are kept." : "Colour by a feature to see which ones fire here.")
      : !found.length ? el("p", { class: "soft" }, "No feature fires here, or this row was not captured.")
        : el("div", { class: "texts" }, found.map(([feature, value]) => el("button", { type: "button", class: "fires", onclick: () => byFeature(state.layer, feature) },
          el("b", {}, feature), ` ${number(value)} `, features.get(feature)?.texts.slice(0, 2).map(([text]) => [chip(text), " "])))));
}

async function byFeature(layer, feature) {
  Object.assign(state, { by: "feature", layer, feature });
  byName("by").value = "feature"; byName("layer").value = layer; byName("feature").value = known(feature) ? feature : "";
  history.replaceState(null, "", `#feature=${layer}/${known(feature) ? feature : ""}`);
  try { await readFirings(); draw(); } catch (error) { byName("about").replaceChildren(error.message); }
}

function start() {
  byName("layer").append(...data.layers.map(layer => el("option", { value: layer }, layer)));
  byName("search").addEventListener("input", drawProblems);
  for (const form of ["controls", "colour"]) byName(form).addEventListener("submit", event => event.preventDefault());
  const wanted = () => byName("feature").value.trim() === "" ? null : Number(byName("feature").value);
  byName("by").addEventListener("input", () => {
    if (byName("by").value === "feature") return byFeature(state.layer, wanted());
    state.by = "score";
    history.replaceState(null, "", `#${state.at}`);
    draw();
  });
  for (const name of ["layer", "feature"]) byName(name).addEventListener("change", () => byFeature(Number(byName("layer").value), wanted()));
  addEventListener("theme", () => state.problem && draw());
  const linked = /^#feature=(\d+)\/(\d*)$/.exec(location.hash), at = /^#(\d+)$/.exec(location.hash);
  if (linked) { Object.assign(state, { by: "feature", layer: Number(linked[1]), feature: linked[2] === "" ? null : Number(linked[2]) }); byName("by").value = "feature"; byName("layer").value = linked[1]; byName("feature").value = linked[2]; }
  open(at && data.problems[Number(at[1])] ? Number(at[1]) : 0, Boolean(linked || at));
}
start();
