"""`perturb`: does a PRM's score move where a solution is broken, and stay where it is only written
another way?
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewardscope import paths
from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.log import get_logger, progress, show
from rewardscope.prms import DEFAULT_PRM, PrmEngineName
from rewardscope.settings import Settings
from rewardscope.stage import Stage, distinct, find_required, option
from rewardscope.stages.model_flags import ModelFlags, check_model
from rewardscope.stages.perturb_tables import RuleChange, RuleSeparation, perturb_tables
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.interventions.score_pairs import ScoredPair
    from rewardscope.prms import Scorer
    from rewardscope.problems.pairs import Pair
    from rewardscope.records import Encoded

TINYMATH = "tinymath"
_AT_ONCE = 256  # inputs that are scored together; neighbours share their beginnings
_UNFIT = "pairs that the PRM cannot take"


@dataclass(frozen=True, kw_only=True)
class Config(ModelFlags):
    """Edit right solutions by rule and see which edits move a PRM's scores.

    Preserving edits (blanks, Unicode, punctuation, LaTeX, steps cut or joined, filler, confidence)
    leave a solution as right as it was; changing ones (a wrong number or sign, a step left out, the
    question of another problem) break it. A good PRM moves on the second kind only. Files are
    generations, ProcessBench or PRMBench; a solution is cut before its first wrong step, and
    PRMBench's own pairs stand beside the rules. Writes perturb/<prm>/<data sets>/.
    """

    datasets: tuple[str, ...] = option(
        (TINYMATH,), help="tinymath, or files or names below the data folder", key=False
    )
    prm: str = option(DEFAULT_PRM, help="hub id or folder of the PRM", key=False)
    name: str | None = option(
        None, help="stands for the data sets in the folder of the result", key=False
    )
    rules: tuple[str, ...] = option(
        ("all",), help="edits by name, or all, preserving or changing, separated by commas"
    )
    steps: Literal["one", "every"] = option(
        "one", help="edit the wording of one step of a solution, or of every step"
    )
    limit: int = option(200, help="at most this many solutions of each data set, the first ones")
    prm_engine: PrmEngineName = option("auto", help="of the PRM: vllm, hf, or auto (hf)", key=False)
    seed: int = option(0, help="seed of the edits and of the bootstrap")

    def __post_init__(self) -> None:
        from rewardscope.problems.edits import rules_named

        if not self.datasets or not self.rules:
            raise ConfigError("--datasets and --rules: at least one of each is needed")
        if self.limit < 1:
            raise ConfigError(f"--limit {self.limit}: at least 1 solution is needed")
        rules_named(self.rules)


def run(config: Config, settings: Settings) -> Path:
    """Edit, score and write; return the folder."""
    config = config.revised("prm")
    sources = [_source(name, settings) for name in config.datasets]
    distinct("--datasets", config.datasets, [Path(paths.slug(source)) for source in sources])
    out = paths.perturb_dir(settings.data_dir, config.prm, sources, config.name)
    inputs = {f"data set {number}": source for number, source in enumerate(sources)}
    stage = Stage("perturb", config, inputs={"prm": config.prm, **inputs}, out=out)
    if stage.is_done():
        return out
    made = {paths.slug(source): _pairs(source, config) for source in sources}
    from rewardscope.prms import load_scorer

    check_model("--prm", config.prm)
    scorer = load_scorer(
        config.prm, engine=config.prm_engine, device=config.device, dtype=config.dtype, growing=True
    )
    with stage:
        scored = {name: list(_scored(scorer, pairs, name)) for name, (pairs, _) in made.items()}
        skipped = Counter({_UNFIT: 0})
        for name, (pairs, left_out) in made.items():
            skipped.update(left_out)
            skipped[_UNFIT] += len(pairs) - len(scored[name])
        files = _write(stage.work, scored, {n: unfit for n, (_, unfit) in made.items()}, config)
        stage.finish(
            files,
            rows=sum(map(len, scored.values())),
            skipped={reason: count for reason, count in skipped.items() if count},
        )
    return out


def _source(name: str, settings: Settings) -> str | Path:
    if name == TINYMATH:
        return name
    return find_required(name, settings.data_dir, "infer", suffix=".jsonl")


def _pairs(source: str | Path, config: Config) -> "tuple[list[Pair], Counter[str]]":
    """Return the pairs of a data set, those of a solution together, and what was left out.

    Raises: MissingInput where there is none.
    """
    from rewardscope.problems.edits import rules_named
    from rewardscope.problems.pairs import edited_pairs, read_right

    found = read_right(source, limit=config.limit)
    pairs, unfit = edited_pairs(
        found.solutions, rules_named(config.rules), seed=config.seed, every=config.steps == "every"
    )
    pairs = [*pairs, *found.pairs]
    if not pairs:
        raise MissingInput(f"{source}: no rule applies to any of its right solutions")
    left_out = found.left_out + Counter(
        {f"{rule} does not apply": count for rule, count in unfit.items()}
    )
    # a PRM that keeps what it has read reads a solution and its edits best one after another
    return sorted(pairs, key=lambda pair: (pair.question, pair.steps)), left_out


def _scored(
    scorer: "Scorer", pairs: "Sequence[Pair]", name: str
) -> "Iterator[tuple[Pair, ScoredPair]]":
    """Yield the pairs that the PRM can take with the scores of both sides."""
    from rewardscope.interventions.score_pairs import ScoredPair

    fitting: list[tuple[Pair, Encoded, Encoded]] = []
    example = ""
    for pair in pairs:
        try:
            sides = (
                scorer.encode(pair.question, pair.steps),
                scorer.encode(pair.edited.question, pair.edited.steps),
            )
        except BadRecord as error:
            example = example or f"; the first: {pair.rule} of {pair.problem}: {error}"
            continue
        fitting.append((pair, *sides))
    if example:
        get_logger().warning(
            f"perturb: left out {len(pairs) - len(fitting)} of {len(pairs)} pairs{example}"
        )
    if not fitting:
        raise MissingInput(f"perturb: the PRM can take none of the pairs of {name}{example}")
    for start in progress(range(0, len(fitting), _AT_ONCE), f"perturb {name}", unit="batch"):
        some = fitting[start : start + _AT_ONCE]
        inputs = list(dict.fromkeys(side for _, *both in some for side in both))
        scores = dict(zip(inputs, scorer.score(inputs), strict=True))
        for pair, original, edited in some:
            sides = (scores[original], scores[edited])
            yield pair, ScoredPair(pair.problem, *sides, pair.edited.ends, pair.edited.at)


def _write(
    folder: Path,
    scored: "dict[str, list[tuple[Pair, ScoredPair]]]",
    left_out: dict[str, Counter[str]],
    config: Config,
) -> list[Path]:
    """Write what was found of every rule; return the files."""
    from rewardscope.interventions.score_pairs import READINGS, effect_of
    from rewardscope.problems.pairs import kinds_of
    from rewardscope.storage.effect_files import write_effects

    changes, apart, effects = [], [], []
    for dataset, found in scored.items():
        by_rule: dict[str, list[ScoredPair]] = {}
        for pair, scores in found:
            by_rule.setdefault(pair.rule, []).append(scores)
        kinds = dict(sorted(kinds_of([pair for pair, _ in found]).items(), key=_place))
        unfit = left_out[dataset]
        for reading in READINGS:
            for rule, kind in kinds.items():
                names = {"dataset": dataset, "rule": rule, "kind": kind, "reading": reading}
                count = unfit[f"{rule} does not apply"]
                changes.append(_change(by_rule[rule], names, count, config.seed))
                effects.append(
                    effect_of(
                        by_rule[rule], reading, component=rule, site=dataset, seed=config.seed
                    )
                )
            apart += _separations(dataset, by_rule, kinds, reading, config.seed)
    tables = folder / "rules.csv", folder / "separation.csv"
    write_csv(tables[0], changes, fields=columns_of(RuleChange))
    write_csv(tables[1], apart, fields=columns_of(RuleSeparation))
    write_rows(
        folder / "pairs.jsonl", (_row(name, *p) for name, all_ in scored.items() for p in all_)
    )
    show(perturb_tables(changes, apart))
    return [*tables, folder / "pairs.jsonl", *write_effects(folder / "effects.csv", effects)]


def _place(named: tuple[str, str]) -> tuple[bool, int, str]:
    """Put preserving rules before changing ones, as the registry has them."""
    from rewardscope.problems.edits import RULES

    rule, kind = named
    return kind == "changing", list(RULES).index(rule) if rule in RULES else len(RULES), rule


def _change(
    pairs: "Sequence[ScoredPair]", names: dict[str, str], unfit: int, seed: int
) -> RuleChange:
    from rewardscope.interventions.score_pairs import shift_of

    found = shift_of(pairs, names["reading"], seed=seed)  # pyright: ignore[reportArgumentType]
    return RuleChange(
        **names,
        n_pairs=found.n_pairs,
        n_problems=found.change.n,
        unfit=unfit,
        original=found.original,
        change=found.change.value,
        low=found.change.low,
        high=found.change.high,
        size=found.size.value,
        size_low=found.size.low,
        size_high=found.size.high,
        above=found.above.value,
        above_low=found.above.low,
        above_high=found.above.high,
        seed=seed,
    )


def _separations(
    dataset: str,
    by_rule: "dict[str, list[ScoredPair]]",
    kinds: dict[str, Any],
    reading: Any,
    seed: int,
) -> list[RuleSeparation]:
    """Return how far all changing rules together, and each, are from all preserving ones."""
    from rewardscope.interventions.score_pairs import separation

    preserving = [p for rule, kind in kinds.items() if kind == "preserving" for p in by_rule[rule]]
    changing = {rule: by_rule[rule] for rule, kind in kinds.items() if kind == "changing"}
    if not preserving or not changing:
        return []
    together = {"all": [pair for pairs in changing.values() for pair in pairs], **changing}
    rows = []
    for name, pairs in together.items():
        found = separation(pairs, preserving, reading, seed=seed)
        auroc, d = found.auroc, found.difference
        rows.append(
            RuleSeparation(
                dataset=dataset,
                changing=name,
                reading=reading,
                n_changing=found.n_changing,
                n_preserving=found.n_preserving,
                auroc=auroc and auroc.value,
                low=auroc and auroc.low,
                high=auroc and auroc.high,
                difference=d and d.value,
                difference_low=d and d.low,
                difference_high=d and d.high,
                n_problems=auroc.n if auroc else 0,
                seed=seed,
            )
        )
    return rows


def _row(dataset: str, pair: "Pair", scores: "ScoredPair") -> dict[str, Any]:
    """Return a pair as a line of `pairs.jsonl`."""
    return {
        "dataset": dataset,
        "problem": pair.problem,
        "rule": pair.rule,
        "kind": pair.kind,
        "question": pair.question,
        "steps": pair.steps,
        "scores": scores.original,
        "edited_question": pair.edited.question,
        "edited_steps": pair.edited.steps,
        "edited_scores": scores.edited,
        "ends": pair.edited.ends,
        "at": pair.edited.at,
    }
