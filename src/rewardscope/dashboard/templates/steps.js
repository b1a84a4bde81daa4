// Names of sources, scorers and traces, and the texts of steps.
const sourceLabels = labels(data.sources.map(source => source.name.replace(/^math-[a-z]+-/, "")));
const scorerName = scores => { const source = data.sources[scores.source]; if (scores.name) return `${scores.name} (${sourceLabels[scores.source]})`; return source.prm ? `${source.prm} (${sourceLabels[scores.source]})` : sourceLabels[scores.source]; };
const scoreColour = score => `color-mix(in oklab, var(--bad), var(--good) ${Math.round(100 * Math.min(1, Math.max(0, score)))}%)`;
const traceName = t => `${sourceLabels[t.source]} ${t.index}${t.correct === true ? " ✓" : t.correct === false ? " ✗" : ""}${t.chosen ? " (chosen)" : ""}`;
const stepsOf = t => t.steps ? t.steps.length : t.ends.length;
// The text of a step of a trace; of states it is their tokens, from the table of the piece.
const stepText = (t, step, tokens) => t.steps ? t.steps[step] : t.tokens.slice(step ? t.ends[step - 1] + 1 : t.first || 0, t.ends[step] + 1).map(code => tokens[code]).join("");
