// The list of a layer's features, as objects, and what finds some of them.
const STEP_END = "step end";
const chip = text => text === null ? el("span", { class: "mark", title: "the end of a step" }, STEP_END) : el("bdi", { class: "tok", title: visible(text) }, shown(text));

function readFeatures(listed, { categories, data_sets, layer }) {
  const c = listed.columns, rows = data_sets.reduce((sum, set) => sum + set.rows, 0);
  return c.id.map((id, i) => ({
    id, layer, place: c.place[i], n: c.n[i], rate: c.n[i] / rows, rates: c.counts[i].map((n, d) => n / data_sets[d].rows),
    mean: c.mean[i], max: c.max[i], mass: c.mean[i] * c.n[i], kind: categories[c.kind[i]], share: c.share[i],
    codes: c.texts[i], texts: c.texts[i].map((code, j) => [code < 0 ? null : listed.tokens[code], c.shares[i][j]]),
    reward: c.reward[i], right: c.right[i], diff: c.diff?.[i], side: c.side && listed.sides[c.side[i]], cosine: c.cosine?.[i],
  }));
}

const unescaped = words => words.replace(/\\n|↵/g, "\n").replace(/\\t|⇥/g, "\t").replace(/\\r|␍/g, "\r").replace(/␣/g, " ");
// A function that says how much of a feature's activation is on what is meant, 0 where it is another feature: by its number, a kind of token,
// "step end" or the text of a step's tag, a part of a token's text, or with quotation marks the whole of it.
function finder(query, tokens, stepTags) {
  const words = query.trim().toLowerCase();
  if (!words) return () => 1;
  const whole = /^"(.+)"$/s.exec(unescaped(query.trim()))?.[1];
  const part = unescaped(query).toLowerCase(), bare = part.trim() || part;
  const isMeant = text => whole === undefined ? text.toLowerCase().includes(bare) : text === whole;
  const codes = new Set(tokens.flatMap((text, code) => isMeant(text) ? [code] : []));
  if ((words.length > 1 && `${STEP_END}s`.startsWith(words)) || stepTags.some(tag => tag.trim() && isMeant(tag))) codes.add(-1);
  const isNumber = /^\d+$/.test(words);
  const isKind = kind => whole === undefined && words.length > 2 && kindName(kind).toLowerCase().includes(words);
  return f => {
    if (isNumber && String(f.id) === words) return 2;
    const share = f.codes.reduce((sum, code, i) => codes.has(code) ? sum + Math.max(.001, f.texts[i][1]) : sum, 0);
    return Math.max(share, isKind(f.kind) ? f.share : 0, isNumber && String(f.id).startsWith(words) ? .01 : 0);
  };
}
