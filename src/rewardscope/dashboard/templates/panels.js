// The card of one feature.
const setLabels = labels(data.data_sets.map(set => set.name));
const labelOf = name => setLabels[data.data_sets.findIndex(set => set.name === name)] || name;
const tile = (name, ...children) => el("div", { class: "tile" }, el("h3", {}, name), children);

function head(f) {
  const traces = data.traces && el("a", { class: "chip", href: `traces.html#feature=${data.layer}/${f.id}` }, "in traces →");
  return el("div", { class: "head" },
    el("button", { id: "back", type: "button", onclick: () => document.body.classList.remove("open") }, "‹ all features"),
    el("h1", {}, `Feature ${f.id}`),
    el("span", { class: "chip", style: `color:${kindColour(f.kind)}` }, kindName(f.kind)),
    f.side && f.side !== "neither" && el("span", { class: `chip ${f.side}` }, `favours ${f.side}`), traces,
    el("div", { class: "step" }, el("button", { type: "button", title: "previous (k)", "aria-label": "previous feature", onclick: () => move(-1) }, "‹"),
      el("button", { type: "button", title: "next (j)", "aria-label": "next feature", onclick: () => move(1) }, "›")));
}
const texts = of => el("div", { class: "texts" }, of.map(([text, share]) => el("span", {}, chip(text), el("small", {}, percent(share)))));

// What the list knows of a feature without a card.
function drawListed(f, error) {
  const alone = el("small", {}, "without an interval");
  put(byName("detail"), head(f), texts(f.texts),
    el("p", { class: "panel soft" }, error || `This feature has no contexts here: ${data.more}.`),
    el("div", { class: "tiles" },
      tile("Fires on", el("b", {}, percent(f.rate)), el("small", {}, `${number(f.n)} rows`)),
      tile("Activation", el("b", {}, number(f.mean)), el("small", {}, `mean where it fires, at most ${number(f.max)}`)),
      tile("PRM score", el("b", {}, signed(f.reward)), alone), tile("In right traces", el("b", {}, signed(f.right)), alone.cloneNode(true)), directionTile(f)),
    el("div", { class: "pair" },
      el("div", {}, el("h3", {}, "Activation by kind of token"), el("p", {}, `${percent(f.share)} on ${kindName(f.kind)}`)),
      el("div", {}, el("h3", {}, "Firing rate by data set"), ratesChart(f.rates))));
}

function drawCard(f, card, piece) {
  const third = Math.round(card.hist.length / 3);
  const bin = i => number(i * card.max / card.hist.length, 2);
  put(byName("detail"), head(f), texts(card.texts),
    el("div", { class: "tiles" },
      tile("Fires on", el("b", {}, percent(card.rate)), el("small", {}, `${number(card.n)} rows`)),
      tile("Activation", el("b", {}, number(card.mean)), el("small", {}, `mean where it fires, at most ${number(card.max)}`)),
      contrastTile("PRM score", card.reward), contrastTile("In right traces", card.right), directionTile(f)),
    el("div", { class: "pair" },
      el("div", {}, el("h3", {}, "Activations where it fires"), histogram(card.hist, i => `${bin(i)} to ${bin(i + 1)}: ${count(card.hist[i], "row")}`, ["0", number(card.max)])),
      el("div", {}, el("h3", {}, "Firing rate by step"), stepChart(card))),
    el("div", { class: "pair" },
      el("div", {}, el("h3", {}, "Activation by kind of token"), stack(data.categories, card.kinds)),
      el("div", {}, el("h3", {}, "Firing rate by data set"), ratesChart(card.rates))),
    card.diffs.length > 0 && el("div", { class: "panel" }, el("h3", {}, "Reasoning against instruct data"), compareTable(card)),
    knownPanels(card.known || {}), partnersPanel(card),
    contexts("Strongest contexts", card, card.examples, piece),
    contexts(`Middle of its activations, ${bin(third)} to ${bin(2 * third)}: chance contexts of ${count(card.thirds[1], "row")}`, card, card.middle, piece),
    contexts(`Low activations, up to ${bin(third)}: chance contexts of ${count(card.thirds[0], "row")}`, card, card.low, piece));
  document.documentElement.dataset.ready = "card";
}

function directionTile(f) {
  if (data.direction.why_not || !known(f.cosine)) return null;
  return tile("Reward direction", el("b", { class: f.cosine > 0 ? "up" : "down" }, signed(f.cosine)),
    el("small", { title: "Cosine of the decoder direction with g * w, the reward head's direction in the residual stream; what later blocks make of the feature is not in it." },
      `cosine; 95 % of random directions lie within ±${fixed(1.96 / Math.sqrt(data.width))}. The direct effect alone.`));
}

function contrastTile(name, contrast) {
  const d = contrast.difference;
  return tile(name, el("b", {}, fixed(contrast.fires)), el("small", {}, `${fixed(contrast.elsewhere)} elsewhere`),
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

function stepChart(card) {
  const last = data.step_rows.reduce((end, rows, i) => rows ? i + 1 : end, 0);
  if (!last) return el("p", { class: "soft" }, "No steps.");
  const name = i => i === data.step_rows.length - 1 ? `steps from ${i + 1}` : `step ${i + 1}`;
  return histogram(card.steps.slice(0, last), i => `${name(i)}: ${percent(card.steps[i])} of ${count(data.step_rows[i], "row")}`, ["step 1", name(last - 1)]);
}

function ratesChart(rates) {
  const most = Math.max(...rates, 1e-9);
  return el("div", { class: "rates" }, data.data_sets.map((set, i) => [
    el("span", { title: set.name }, setLabels[i]), el("span", { class: "bar" }, el("i", { style: `width:${100 * rates[i] / most}%;background:${setColour(i)}` })), el("span", {}, percent(rates[i]))]));
}

function compareTable(card) {
  return el("table", { class: "compare" }, el("tr", {}, ["", "difference of rates", "log₂ ratio", "q"].map(name => el("th", {}, name))),
    card.diffs.map(([pair, value, low, high, ratio, q, side]) => el("tr", {},
      el("td", { title: data.pairs[pair].join(" − ") }, data.pairs[pair].map(labelOf).join(" − ")),
      el("td", { style: side === "neither" ? null : `color:var(--${side})` }, `${signed(100 * value, 1)} % ${known(low) ? `[${signed(100 * low, 1)}, ${signed(100 * high, 1)}]` : "–"}`),
      el("td", {}, signed(ratio, 1)), el("td", {}, q < .001 ? "< 0.001" : number(q, 2)))));
}

// What other tables know of the feature, where there is any; of several results each names its own.
const CONTROL_NAMES = { solved: "solved problems", shared: "shared tokens", all: "token, place and solved at once" };
function knownPanels({ labels, controls, twin, injections, ablation }) {
  const panel = (title, help, ...children) => el("div", { class: "panel known" }, el("h3", { title: help }, title), children);
  const range = (low, high, digits) => known(low) ? ` [${signed(low, digits)}, ${signed(high, digits)}]` : "";
  const from = (one, all) => all.length > 1 && el("small", { class: "soft" }, one.result);
  const several = new Set((ablation || []).map(e => e.result)).size > 1;
  const control = name => CONTROL_NAMES[name] || name;
  return [
    labels && panel("Category by rules", "feature-label: the kind of text that it is most selective of", labels.map(l => el("p", {},
      el("b", {}, l.assigned ? kindName(l.category) : "mixed"), ` ${percent(l.purity)} of its activation is on ${kindName(l.category)}, which is ${percent(l.base_rate)} of the tokens: lift ${number(l.lift)}`,
      known(l.low) ? ` [${number(l.low)}, ${number(l.high)}]` : ", too few problems for an interval", " ", from(l, labels)))),
    controls && panel("Controls", "feature-diff: whether it still favours its side when rows are matched", controls.map(c => el("div", {},
      el("p", { class: "soft" }, `favours ${c.favours}, ${c.pair.map(labelOf).join(" − ")}`),
      c.survived.map(name => el("span", { class: "chip up" }, `survives ${control(name)}`)), c.failed.map(name => el("span", { class: "chip down" }, `falls to ${control(name)}`)),
      c.unknown.map(name => el("span", { class: "chip soft" }, `too few rows for ${control(name)}`))))),
    twin && panel("Match in SAEs of other seeds", "feature-diff --twin: the best match, the worst of several seeds",
      `cosine ${fixed(twin.cosine)}${known(twin.correlation) ? `, correlation ${fixed(twin.correlation)}` : ""}${known(twin.stable) ? `: ${twin.stable ? "stable" : "not stable"}` : ""}${twin.runs.length ? ` (${twin.runs.join(", ")})` : ""}`),
    injections && panel("Token injection", "inject: whether its tokens alone bring its activation back in other text", injections.map(i => el("p", {},
      el("b", {}, i.verdict), known(i.net) ? `: by ${i.strategy}, ${signed(100 * i.net, 0)} %${known(i.low) ? ` [${signed(100 * i.low, 0)}, ${signed(100 * i.high, 0)}]` : ""} of its activation on reasoning comes back, beyond what random ones bring, over ${count(i.n, "problem")}` : "",
      i.reason && `: ${i.reason}`, " ", from(i, injections)))),
    ablation && panel("Effect when it is edited", "feature-ablate: change of a measure of the PRM's scores, with a 95 % interval over problems", el("table", { class: "compare" },
      el("tr", {}, ["edit", "measure", "change", "matched random features"].map(name => el("th", {}, name))),
      ablation.map(e => el("tr", {}, el("td", {}, e.edit, several && el("small", { class: "soft" }, ` ${e.result}`)), el("td", {}, e.measure),
        el("td", {}, `${signed(e.value, 3)}${range(e.low, e.high, 3)}`, el("small", { class: "soft" }, `, ${count(e.n, "problem")}`)),
        el("td", {}, e.against ? [`${signed(e.against[0], 3)}${range(e.against[1], e.against[2], 3)}`, el("small", { class: "soft" }, ` of ${e.n_controls}`)] : "–"))))),
  ];
}

function partnersPanel(card) {
  if (!card.partners.length) return null;
  return el("div", { class: "panel" }, el("h3", { title: "phi: correlation of firing or not; PMI: log2 of how many times more often than by chance both fire" }, `Fires together with (of ${count(data.pair_rows, "row")})`),
    el("table", { class: "compare" }, el("tr", {}, ["feature", "fires on", "phi", "PMI", "rows"].map(name => el("th", {}, name))),
      card.partners.map(([id, phi, pmi, rows]) => el("tr", {}, el("td", {}, el("a", { href: `#${id}` }, id)),
        el("td", {}, state.byId.get(id).texts.slice(0, 3).map(([text]) => [chip(text), " "])), el("td", {}, fixed(phi)), el("td", {}, signed(pmi, 1)), el("td", {}, number(rows))))));
}

function contexts(name, card, examples, piece) {
  return examples.length > 0 && el("section", {}, el("h3", {}, name), el("div", { class: "contexts" }, examples.map(example => drawContext(card, example, piece))));
}

function drawContext(card, [number_, peak, start, end, values], piece) {
  const [traceNumber, first, codes, marks, more] = piece.segments[number_];
  const trace = piece.traces[traceNumber], active = new Map(values), stepEnds = new Map(marks.map(([at, step, score]) => [at, { step, score }]));
  const tokens = [];
  for (let at = start; at < end; at++) tokens.push(drawToken(card, piece.tokens[codes[at]], active.get(at), at === peak, stepEnds.get(at)));
  return el("div", { class: "context" },
    el("div", { class: "from" },
      el("span", { title: data.data_sets[trace.data_set].name }, el("i", { class: "dot", style: `background:${setColour(trace.data_set)}` }), `${setLabels[trace.data_set]}: `, el("bdi", {}, shown(trace.problem, { running: true })), `, trace ${trace.trace}`),
      el("span", {}, `token ${first + peak}`),
      known(trace.correct) && el("span", { class: trace.correct ? "up" : "down" }, trace.correct ? "✓ right" : "✗ wrong"),
      el("b", {}, number(active.get(peak)))),
    el("div", { class: "text" }, first + start > 0 && el("span", { class: "more" }, "… "), tokens, (more || end < codes.length) && el("span", { class: "more" }, " …")));
}

function drawToken(card, text, activation, isPeak, stepEnd) {
  const title = activation ? `activation ${number(activation)}` : null;
  if (stepEnd) {
    const where = `end of step ${stepEnd.step}${known(stepEnd.score) ? `, PRM score ${stepEnd.score}` : ""}${title ? `, ${title}` : ""}`;
    return el("span", { class: `mark${activation ? " hot" : ""}${isPeak ? " peak" : ""}`, title: where }, known(stepEnd.score) ? fixed(stepEnd.score) : "▪");
  }
  const style = activation ? `background:rgba(var(--heat), ${(.12 + .78 * activation / card.max).toFixed(2)})` : null;
  return el("span", { class: isPeak ? "peak" : null, style, title }, shown(text, { running: !(activation && /^\s+$/.test(text)) }));
}
