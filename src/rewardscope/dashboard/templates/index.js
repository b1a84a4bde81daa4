const entries = data.entries;
const compared = entries.some(entry => entry.compared);

function card(entry) {
  const q = entry.quality, total = entry.kinds.reduce((a, b) => a + b, 0) || 1;
  const facts = [
    q && ["variance left", percent(q.fvu.value) + (known(q.fvu.low) ? ` (${percent(q.fvu.low)} to ${percent(q.fvu.high)})` : "")],
    q && ["active a row", fixed(q.l0.value, 1) + (entry.k ? ` of at most ${entry.k}` : "")],
    ["features that fire", `${number(entry.n_firing)} of ${number(entry.n_features)}`],
    entry.compared > 0 && ["favour reasoning", `${entry.reasoning} of ${number(entry.compared)} comparisons`],
    entry.reasoning > 0 && ["of these, formatting", `${percent(entry.formatting / entry.reasoning)} (${entry.formatting} of ${entry.reasoning})`],
  ].filter(Boolean);
  return el("a", { class: "card", href: `layer_${String(entry.layer).padStart(2, "0")}.html` },
    el("div", { class: "title" }, el("b", {}, `Layer ${entry.layer}`), el("span", {}, `${entry.n_shown} features →`)),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("div", {}, el("h3", {}, "What the shown features fire on"), stack(entry.categories, entry.kinds.map(n => n / total))));
}

const setNames = entries.length ? labels(entries[0].data_sets.map(set => set.name)) : [];
const sets = entries.length ? entries[0].data_sets : [];
document.getElementById("lead").textContent = `Sparse autoencoders on ${entries.length === 1 ? "one layer" : `${entries.length} layers`} of a process reward model, shown on `
  + `${sets.map((set, i) => `${setNames[i]} (${count(set.rows, "row")} of ${count(set.problems, "problem")})`).join(" and ")}.`
  + (compared ? " Formatting means that most of a feature's activation is on whitespace, punctuation or Unicode symbols." : "");
document.getElementById("cards").append(...entries.map(card));
