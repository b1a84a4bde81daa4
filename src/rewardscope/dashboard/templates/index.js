const entries = data.entries;
const compared = entries.some(entry => entry.compared);
const MOST_FOUND = 100;

function card(entry) {
  const q = entry.quality, total = entry.kinds.reduce((a, b) => a + b, 0) || 1;
  const facts = [
    q && ["variance left", percent(q.fvu.value) + (known(q.fvu.low) ? ` (${percent(q.fvu.low)} to ${percent(q.fvu.high)})` : "")],
    q && ["active a row", fixed(q.l0.value, 1) + (entry.k ? ` of at most ${entry.k}` : "")],
    ["features that fire", `${number(entry.n_firing)} of ${number(entry.n_features)}`],
    entry.n_shown < entry.n_firing && ["with contexts", number(entry.n_shown)],
    entry.compared > 0 && ["favour reasoning", `${entry.reasoning} of ${number(entry.compared)} comparisons`],
    entry.reasoning > 0 && ["of these, formatting", `${percent(entry.formatting / entry.reasoning)} (${entry.formatting} of ${entry.reasoning})`],
  ].filter(Boolean);
  return el("a", { class: "card", href: `${layerName(entry.layer)}.html` },
    el("div", { class: "title" }, el("b", {}, `Layer ${entry.layer}`), el("span", {}, `${number(entry.n_firing)} features →`)),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("div", {}, el("h3", {}, "What its features fire on"), stack(entry.categories, entry.kinds.map(n => n / total))));
}

const lists = new Map();
async function listOf(entry) {
  if (!lists.has(entry.layer)) {
    const listed = await load(`${layerName(entry.layer)}/list`);
    lists.set(entry.layer, { tokens: listed.tokens, features: readFeatures(listed, entry) });
  }
  return lists.get(entry.layer);
}

let asking = 0;
async function find() {
  const query = byName("search").value, own = ++asking;
  if (!query.trim()) return byName("found").replaceChildren();
  const found = [];
  try {
    for (const entry of entries) {
      const { tokens, features } = await listOf(entry);
      if (own !== asking) return; // another search was begun
      const weigh = finder(query, tokens, entry.step_tags);
      for (const f of features) { const weight = weigh(f); if (weight > 0) found.push({ ...f, weight }); }
    }
  } catch (error) {
    return byName("found").replaceChildren(el("p", { class: "soft" }, error.message));
  }
  found.sort((a, b) => b.weight - a.weight || b.mass - a.mass);
  const head = ["layer", "feature", "fires on", "rate", "reward Δ"];
  put(byName("found"),
    el("p", { class: "soft" }, `${count(found.length, "feature")} of ${count(entries.length, "layer")}${found.length > MOST_FOUND ? `, the first ${MOST_FOUND} shown` : ""}`),
    found.length > 0 && el("table", { class: "found panel" }, el("thead", {}, el("tr", {}, head.map(name => el("th", {}, name)))),
      el("tbody", {}, found.slice(0, MOST_FOUND).map(f => el("tr", {},
        el("td", {}, f.layer), el("td", {}, el("a", { href: `${layerName(f.layer)}.html#${f.id}` }, f.id)),
        el("td", { class: "words" }, f.texts.map(([text]) => [chip(text), " "])), el("td", {}, percent(f.rate)), el("td", {}, signed(f.reward)))))));
}

const setNames = entries.length ? labels(entries[0].data_sets.map(set => set.name)) : [];
const sets = entries.length ? entries[0].data_sets : [];
byName("lead").textContent = `Sparse autoencoders on ${entries.length === 1 ? "one layer" : `${entries.length} layers`} of a process reward model, shown on `
  + `${sets.map((set, i) => `${setNames[i]} (${count(set.rows, "row")} of ${count(set.problems, "problem")})`).join(" and ")}.`
  + (compared ? " Formatting means that most of a feature's activation is on whitespace, punctuation or Unicode symbols." : "");
byName("cards").append(...entries.map(card));
let pause;
byName("search").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(find, 150); });
byName("controls").addEventListener("submit", event => { event.preventDefault(); find(); });
const wanted = new URLSearchParams(location.search).get("find");
if (wanted) { byName("search").value = wanted; find(); }
