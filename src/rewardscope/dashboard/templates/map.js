// Every feature as a point: how often it fires, and the reward where it does. On a canvas, as there may be tens of thousands.
const TENS = [1e-6, 1e-5, 1e-4, 1e-3, .01, .1, 1];
let placed = []; // x, y, feature, as they are drawn

function drawMap() {
  const home = byName("map");
  const points = state.features.filter(f => known(f.reward));
  if (!points.length) return home.replaceChildren(el("p", { class: "soft" }, "No feature fires at enough step ends to compare."));
  let canvas = home.querySelector("canvas");
  if (!canvas) {
    canvas = el("canvas", { role: "img", "aria-label": "Firing rate against reward difference of every feature; the list has the same numbers", onclick: pick, onmousemove: hover });
    home.replaceChildren(canvas);
  }
  const W = Math.max(280, home.clientWidth), H = 200, scale = devicePixelRatio || 1;
  Object.assign(canvas, { width: W * scale, height: H * scale });
  canvas.style.height = `${H}px`;
  const pen = canvas.getContext("2d"), colours = getComputedStyle(document.documentElement);
  const colour = name => colours.getPropertyValue(name).trim();
  pen.scale(scale, scale);
  pen.font = `11px ${colour("--sans")}`;
  drawPoints(pen, points, drawAxes(pen, points, W, H, colour), colour);
}

function drawAxes(pen, points, W, H, colour) {
  const left = 44, right = 12, top = 8, bottom = 32;
  const xs = points.map(f => Math.log10(f.rate)), reach = points.reduce((most, f) => Math.max(most, Math.abs(f.reward)), .01) * 1.1;
  const x0 = xs.reduce((a, b) => Math.min(a, b)) - .1, x1 = xs.reduce((a, b) => Math.max(a, b)) + .1;
  const X = v => left + (v - x0) / (x1 - x0) * (W - left - right), Y = v => top + (reach - v) / (2 * reach) * (H - top - bottom);
  const line = (x, y, toX, toY, stroke) => { pen.strokeStyle = stroke; pen.beginPath(); pen.moveTo(x, y); pen.lineTo(toX, toY); pen.stroke(); };
  const write = (text, x, y, align) => { pen.fillStyle = colour("--soft"); pen.textAlign = align; pen.fillText(text, x, y); };
  for (const rate of x1 - x0 > 2.5 ? TENS : TENS.flatMap(ten => [ten, 2 * ten, 5 * ten])) {
    const x = X(Math.log10(rate));
    if (x < left || x > W - right) continue;
    line(x, top, x, H - bottom, colour("--line"));
    write(percent(rate), x, H - bottom + 13, "center");
  }
  line(left, Y(0), W - right, Y(0), colour("--faint"));
  for (const v of [reach / 1.1, 0, -reach / 1.1]) write(v ? signed(v) : "0", left - 6, Y(v) + 4, "right");
  write("share of rows where it fires →", W - right, H - 4, "right");
  write(W > 560 ? "↑ reward Δ; colour: kind of token; size: activation in all" : "↑ reward Δ", 4, H - 4, "left");
  return { X, Y };
}

function drawPoints(pen, points, { X, Y }, colour) {
  const most = points.reduce((a, f) => Math.max(a, f.mass), 0), ids = new Set(state.shown.map(f => f.id)), small = points.length > 2000;
  placed = points.map(f => [X(Math.log10(f.rate)), Y(f.reward), f, (small ? 1.2 : 3) + 7 * Math.sqrt(f.mass / most)]);
  const colourOf = new Map(data.categories.map(kind => [kind, colour(`--k-${kind}`)]));
  for (const [x, y, f, r] of placed) {
    pen.globalAlpha = ids.has(f.id) ? .55 : .06;
    pen.fillStyle = colourOf.get(f.kind);
    pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
  const chosen = placed.find(([, , f]) => f.id === state.chosen);
  if (chosen) { pen.strokeStyle = colour("--ink"); pen.lineWidth = 2; pen.beginPath(); pen.arc(chosen[0], chosen[1], chosen[3] + 1.5, 0, 7); pen.stroke(); }
}

function near(event) {
  let best = null, least = 12;
  for (const [x, y, f, r] of placed) {
    const away = Math.hypot(x - event.offsetX, y - event.offsetY) - r;
    if (away < least) [best, least] = [f, away];
  }
  return best;
}
function pick(event) { const f = near(event); if (f) choose(f.id, true); }
function hover(event) {
  const f = near(event);
  event.target.style.cursor = f ? "pointer" : "";
  event.target.title = f ? `${f.id}: ${f.texts.slice(0, 3).map(([text]) => text === null ? STEP_END : visible(text)).join("  ")}\nrate ${percent(f.rate)}, reward ${signed(f.reward)}` : "";
}
