"""A probe on captured states, with what it must beat."""

from collections.abc import Iterator
from typing import NamedTuple

from numpy.typing import NDArray

from rewardscope.api.acts import Acts
from rewardscope.api.words import in_arguments
from rewardscope.errors import ConfigError
from rewardscope.probes.controls import POSITION, fit_columns, position_columns, shuffle_targets
from rewardscope.probes.fit import STATES, fit_layer
from rewardscope.probes.layer_scores import score_probes
from rewardscope.probes.linreg import LinearProbe
from rewardscope.probes.penalties import parse_penalties
from rewardscope.probes.scores import margin, score
from rewardscope.probes.step_places import step_places
from rewardscope.probes.table import Split, read_table, state_blocks
from rewardscope.records import Estimate
from rewardscope.splits import SPLIT_SEED, TEST_SHARE
from rewardscope.statistics.draws import draw
from rewardscope.storage.acts import ActStore


class FittedProbe(NamedTuple):
    """A probe of one layer, scored on held-out problems; n of an estimate counts these."""

    probe: LinearProbe
    score: Estimate
    """R2 for the target `reward`, AUROC for `correct`."""
    controls: dict[str, Estimate]
    """The same of what reads no states, or less of them, on the same rows."""
    best_control: str
    margin: Estimate
    """The score less that of the best control; the interval allows for the choice."""
    n_train: int
    n_test: int


_ARGUMENTS = {
    "--ridge": "penalties",
    "--test-share": "test_share",
    "--target": "target",
    "--folds": "folds",
    "--seed": "seed",
}


@in_arguments(_ARGUMENTS)
def fit_probe(
    acts: Acts | ActStore,
    *,
    layer: int,
    target: str = "reward",
    penalties: str = "1e-3..1e4",
    folds: int = 5,
    test_share: float = TEST_SHARE,
    seed: int = SPLIT_SEED,
) -> FittedProbe:
    """Fit a linear probe to the states of a layer at step ends: ridge for `reward`, logistic
    regression for `correct`.

    Problems are held out by a hash of their id; the penalty is chosen over folds of the others.
    Raises: UnknownName for a target, or a layer that was not captured; MissingInput, ConfigError
    where the rows are too few or the target does not vary.
    """
    choice = parse_penalties(penalties)
    if not 2 <= folds <= 100 or not 0 < test_share < 1:
        raise ConfigError(
            f"folds {folds}, test_share {test_share}: 2 to 100, and a share, are needed"
        )
    name = str(acts.folder) if isinstance(acts, ActStore) else "the captured states"
    split = Split(test_share=test_share, seed=seed, folds=folds if len(choice) > 1 else 1)
    table = read_table(acts.rows, target, split, name=name)

    def states() -> Iterator[NDArray]:
        if isinstance(acts, ActStore):
            return state_blocks(acts, layer)
        return iter([acts.layer(layer).numpy()])

    probes = fit_layer(
        states,
        table.value,
        shuffle_targets(table, seed=seed),
        table.fold,
        folds=table.n_folds,
        penalties=choice,
        classes=table.classes,
        seed=seed,
    )
    draws = draw(table.problem[table.test], seed=seed)
    scored = {
        label: scores for label, (_, scores) in score_probes(states, probes, table, draws).items()
    }
    own = scored.pop(STATES)
    ends = acts.step_ends() if isinstance(acts, ActStore) else acts.step_ends
    columns = position_columns(table, step_places(acts.rows, ends))
    _, by_place_N = fit_columns(columns, table, penalties=choice)
    value_N = table.value[table.test]
    by_place = score(value_N, by_place_N, draws, classes=table.classes)
    controls = {**scored, POSITION: by_place}
    best, lead = margin(own, controls, draws)
    return FittedProbe(
        probe=probes[STATES],
        score=own.headline,
        controls={label: scores.headline for label, scores in controls.items()},
        best_control=best,
        margin=lead,
        n_train=int(table.train.sum()),
        n_test=int(table.test.sum()),
    )
