"""The probe of a layer and the controls that read the same states, scored on the test rows."""

from collections.abc import Mapping

from rewardscope.probes.fit import SHUFFLED, FeatureBlocks, predict_chosen
from rewardscope.probes.linreg import LinearProbe
from rewardscope.probes.scores import Scores, mean_of, score
from rewardscope.probes.table import Table
from rewardscope.statistics.draws import Draws


def score_probes(
    source: FeatureBlocks, probes: Mapping[str, LinearProbe], table: Table, draws: Draws
) -> dict[str, tuple[LinearProbe, Scores]]:
    """Return each probe of `fit_layer` with its scores, by name; the states are read once.

    Shuffled targets are one control: the mean of all shuffles, with the probe of the first.
    """
    predicted = predict_chosen(source, list(probes.values()), table.test)
    value_N = table.value[table.test]
    found: dict[str, list[tuple[LinearProbe, Scores]]] = {}
    for (name, probe), predicted_N in zip(probes.items(), predicted.T, strict=True):
        kind = SHUFFLED if name.startswith(SHUFFLED) else name
        scores = score(value_N, predicted_N, draws, classes=table.classes)
        found.setdefault(kind, []).append((probe, scores))
    return {
        name: (parts[0][0], mean_of([scores for _, scores in parts], draws))
        for name, parts in found.items()
    }
