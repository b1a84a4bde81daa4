// Two PRMs on the same traces, or two policies on the same problems; what is furthest apart comes first.
const state = { first: 0, second: 1, at: null };
const sideName = side => { const source = data.sources[side[0]]; return side[1] ? `${side[1]} on ${sourceLabels[side[0]]}` : `${sourceLabels[side[0]]}${source.prm ? `, scored by ${source.prm}` : ""}`; };
const sideColour = number => number ? "var(--reasoning)" : "var(--instruct)";
const scoresOf = (t, side) => t.scores.find(scores => scores.source === side[0] && (scores.name || "") === side[1])?.values;
const isOf = (t, side) => t.source === side[0] || t.scores.some(scores => scores.source === side[0]);
const sides = () => [data.sides[state.first], data.sides[state.second]];

// [value, n, whether the traces are the same] of a problem, or null.
function apartOn(at) {
  const [low, high] = [state.first, state.second].sort((a, b) => a - b);
  const found = data.apart[at].find(([first, second]) => first === low && second === high);
  return found ? found.slice(2) : null;
}

function drawProblems() {
  const found = data.problems.map((p, at) => ({ ...p, at, apart: apartOn(at) }));
  found.sort((a, b) => (b.apart ? b.apart[0] : -1) - (a.apart ? a.apart[0] : -1) || a.at - b.at);
  const same = found.some(p => p.apart?.[2]);
  byName("problems").replaceChildren(el("ul", { class: "plain" }, found.map(p => el("li", {},
    el("button", { type: "button", class: "problem", "aria-current": p.at === state.at ? "true" : null, onclick: () => open(p.at, true) },
      el("b", {}, el("bdi", {}, shown(p.id, { running: true }))), el("small", {}, p.apart ? p.apart[2] ? `|Δ| ${fixed(p.apart[0])} over ${count(p.apart[1], "step")}` : `${percent(p.apart[0])} apart in right traces` : "not comparable"),
      p.start && el("span", {}, el("bdi", {}, shown(p.start, { running: true }))))))));
  byName("count").textContent = `${count(found.filter(p => p.apart).length, "problem")} ${same ? "that both scored, by mean distance of their scores" : "that both solved, by difference of right traces"}`;
  return found[0]?.at;
}

async function open(at, chosen) {
  state.at = at;
  document.body.classList.toggle("open", Boolean(chosen));
  drawProblems();
  try {
    const piece = await load(`traces/${pieceNumber(Math.floor(at / data.piece))}`);
    if (state.at === at) draw(piece.problems[at % data.piece], piece.tokens);
  } catch (error) {
    put(byName("detail"), el("p", { class: "soft" }, error.message));
  }
}

function draw(p, tokens) {
  const both = p.traces.filter(t => sides().every(side => scoresOf(t, side)));
  put(byName("detail"),
    el("div", { class: "panel question" }, el("button", { id: "back", type: "button", onclick: () => document.body.classList.remove("open") }, "‹ all problems"),
      el("h1", {}, el("bdi", {}, shown(p.id, { running: true }))), p.question && el("p", { class: "text" }, shown(p.question, { running: true, lines: true })),
      known(p.answer) && el("p", {}, el("span", { class: "soft" }, "right answer "), el("bdi", { class: "tok" }, shown(p.answer)))),
    el("div", { class: "legend" }, sides().map((side, i) => el("span", {}, el("i", { class: "dot", style: `background:${sideColour(i)}` }), sideName(side)))),
    both.length ? both.map(t => ({ t, far: distance(t) })).sort((a, b) => b.far - a.far).map(({ t, far }) => drawScored(t, far, tokens)) : drawPolicies(p, tokens));
  document.documentElement.dataset.ready = "compare";
}
function distance(t) {
  const [a, b] = sides().map(side => scoresOf(t, side));
  return a.reduce((sum, value, step) => sum + Math.abs(value - b[step]), 0) / Math.max(1, a.length);
}

const verdict = t => known(t.correct) && el("span", { class: t.correct ? "up" : "down" }, t.correct ? "✓ right" : "✗ wrong");
const body = (t, step, tokens) => el("div", { class: "text" }, shown(stepText(t, step, tokens), { running: true, lines: true }));

// A trace that both scored: a row a step, with the two scores on one scale.
function drawScored(t, far, tokens) {
  const values = sides().map(side => scoresOf(t, side));
  return el("section", { class: "panel column" }, el("p", { class: "facts-line" }, el("b", {}, traceName(t)), verdict(t), el("span", { class: "soft" }, `mean |Δ| ${fixed(far)}`)),
    Array.from({ length: stepsOf(t) }, (_, step) => {
      const [a, b] = values.map(own => own[step]), low = Math.min(0, a, b), high = Math.max(1, a, b), X = v => 4 + 92 * (v - low) / (high - low);
      return el("div", { class: "step-block" }, el("div", { class: "step-head" }, el("span", {}, step + 1), el("b", { style: `background:${sideColour(0)}` }, fixed(a)), el("b", { style: `background:${sideColour(1)}` }, fixed(b)), el("span", {}, `Δ ${signed(b - a)}`),
        svg("svg", { viewBox: "0 0 100 10", class: "gap", "aria-hidden": "true" }, svg("line", { class: "axis", x1: 4, x2: 96, y1: 5, y2: 5 }), svg("line", { x1: X(a), x2: X(b), y1: 5, y2: 5 }), [a, b].map((v, i) => svg("circle", { cx: X(v), cy: 5, r: 3, style: `fill:${sideColour(i)}` }))),
        known(t.labels?.[step]) && el("span", { class: t.labels[step] ? "up" : "down" }, t.labels[step] ? "labelled right" : "labelled wrong")), body(t, step, tokens));
    }));
}

// Two policies: the chosen trace of each, or else its first.
function drawPolicies(p, tokens) {
  return el("div", { class: "columns" }, sides().map((side, i) => {
    const own = p.traces.filter(t => isOf(t, side)), t = own.find(one => one.chosen) || own[0], graded = own.filter(one => known(one.correct));
    return el("section", { class: "column panel", style: `--own:${sideColour(i)}` }, el("h3", {}, sideName(side)),
      t ? [el("p", { class: "facts-line" }, el("b", {}, traceName(t)), verdict(t), known(t.answer) && el("span", {}, "answer ", el("bdi", { class: "tok" }, shown(t.answer))),
        graded.length > 0 && el("span", { class: "soft" }, `${graded.filter(one => one.correct).length} of ${count(graded.length, "trace")} right`)),
      Array.from({ length: stepsOf(t) }, (_, step) => { const score = (scoresOf(t, side) || t.scores[0]?.values)?.[step];
        return el("div", { class: "step-block", style: known(score) ? `--score:${scoreColour(score)}` : null }, el("div", { class: "step-head" }, el("span", {}, step + 1), known(score) && el("b", { style: `background:${scoreColour(score)}` }, fixed(score))), body(t, step, tokens)); })]
        : el("p", { class: "soft" }, "No trace of this problem."));
  }));
}

function start() {
  for (const name of ["first", "second"]) {
    byName(name).append(...data.sides.map((side, i) => el("option", { value: i }, sideName(side))));
    byName(name).value = state[name];
    byName(name).addEventListener("input", () => { state[name] = Number(byName(name).value); open(drawProblems(), false); });
  }
  byName("controls").addEventListener("submit", event => event.preventDefault());
  const asked = /^#(\d+)-(\d+)(?:\/(\d+))?$/.exec(location.hash);
  if (asked) for (const [i, name] of ["first", "second"].entries()) if (data.sides[asked[i + 1]]) { state[name] = Number(asked[i + 1]); byName(name).value = state[name]; }
  open(asked?.[3] ? Number(asked[3]) : drawProblems(), Boolean(asked?.[3]));
}
start();
