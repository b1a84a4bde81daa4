// The tree of a search: traces of a source that begin with the same steps share their nodes. Beams that were dropped are not in a generations file.
function treeOf(traces, tokens) {
  const root = { step: -1, children: new Map(), leaves: [] };
  for (const { t, at } of traces) {
    let node = root;
    const scores = t.scores[0]?.values || [];
    for (let step = 0; step < stepsOf(t); step++) {
      const text = stepText(t, step, tokens);
      if (!node.children.has(text)) node.children.set(text, { step, text, score: scores[step], children: new Map(), leaves: [], chosen: false });
      node = node.children.get(text);
      node.chosen ||= t.chosen;
    }
    node.leaves.push({ t, at });
  }
  return root;
}

// Rows from the top: a node stands at the middle of its children; every leaf has a row of its own.
function placed(node, row = { next: 0 }) {
  const children = [...node.children.values()].map(child => placed(child, row));
  const leaves = node.leaves.map(leaf => ({ ...leaf, row: row.next++ }));
  const rows = [...children, ...leaves].map(one => one.row);
  return { ...node, children, leaves, row: rows.reduce((a, b) => a + b, 0) / rows.length };
}

function drawTrees() {
  const p = state.problem, box = byName("trees");
  const trees = data.sources.map((source, number) => ({ source, number, traces: p.traces.map((t, at) => ({ t, at })).filter(({ t }) => t.source === number) }))
    .filter(({ source, traces }) => source.search && traces.length > 1);
  box.hidden = !trees.length;
  put(box, trees.map(({ source, number, traces }) => [el("h3", {}, `Search tree: ${sourceLabels[number]} (${source.search})`), el("div", { class: "tree-scroll" }, drawTree(placed(treeOf(traces, state.tokens)), traces)),
    el("p", { class: "soft" }, "Kept beams, joined where their steps are the same; the thick line is the chosen trace. Beams that were dropped on the way are not in the generations file.")]));
}

function drawTree(root, traces) {
  const deepest = Math.max(1, ...traces.map(({ t }) => stepsOf(t))), gap = Math.max(26, Math.min(70, 620 / deepest)), high = 24;
  const X = step => 14 + (step + 1) * gap, Y = row => 16 + row * high;
  const W = X(deepest) + 150, H = 20 + traces.length * high, parts = [], marks = [];
  const edge = (from, to, x, chosen) => parts.push(svg("path", { d: `M${X(from.step)} ${Y(from.row)} C${(X(from.step) + x) / 2} ${Y(from.row)} ${(X(from.step) + x) / 2} ${Y(to.row)} ${x} ${Y(to.row)}`, class: chosen ? "chosen" : null }));
  (function draw(node) {
    for (const child of node.children) { edge(node, child, X(child.step), child.chosen); draw(child); }
    for (const leaf of node.leaves) {
      if (leaf.row !== node.row) edge(node, leaf, X(node.step) + 8, leaf.t.chosen);
      marks.push(svg("text", { x: X(node.step) + 12, y: Y(leaf.row) + 3.5, class: leaf.t.correct ? "right" : "", tabindex: 0, role: "button", onclick: () => showTrace(leaf.at), onkeydown: event => event.key === "Enter" && showTrace(leaf.at) }, traceName(leaf.t)));
    }
    const title = node.step < 0 ? "start" : `step ${node.step + 1}${known(node.score) ? `, PRM score ${fixed(node.score)}` : ""}: ${visible(node.text)}`;
    marks.push(svg("circle", { cx: X(node.step), cy: Y(node.row), r: node.step < 0 ? 3 : 5.5, style: known(node.score) ? `fill:${scoreColour(node.score)}` : null }, svg("title", {}, title)));
  })(root);
  return svg("svg", { class: "tree", viewBox: `0 0 ${W} ${H}`, style: `width:${W}px;height:${H}px`, role: "group", "aria-label": "Search tree" }, parts, marks);
}

// Put a trace of the tree into the first column.
function showTrace(at) {
  state.columns = [at, ...state.columns.filter(other => other !== at).slice(0, Math.max(0, state.columns.length - 1))];
  draw();
}
