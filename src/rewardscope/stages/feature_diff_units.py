"""What `feature-diff` makes of one layer of one pair of folders: the features of the SAE, of its
baselines and of permuted problems, all under the same controls.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewardscope.features.baselines import random_directions, sample_states
from rewardscope.features.contrast import Sides, compare_all, describe, mass_shares, verdicts
from rewardscope.features.controls import NONE
from rewardscope.features.diff import Comparison
from rewardscope.features.diff_files import Columns, diff_columns
from rewardscope.features.firing import encode_store, open_data_set
from rewardscope.features.firing_buckets import FiringBuckets
from rewardscope.features.row_codes import PairRows
from rewardscope.features.scaling import Scaling, check_same_texts, latent_scaling
from rewardscope.features.shares import DiffShare, share_rows
from rewardscope.features.stability import Twins, find_twins
from rewardscope.models.device import pick_device
from rewardscope.paths import slug
from rewardscope.sae.model.checkpoint import Sae, load_sae
from rewardscope.sae.model.runs import SaeRun
from rewardscope.stages.feature_diff_flags import Config, Saes, Unit
from rewardscope.storage.acts import ActStore

# Shape legend: F features.


class UnitResult(NamedTuple):
    columns: Columns
    shares: list[DiffShare]
    silent: int
    """Features that fire on neither side."""


class _Source(NamedTuple):
    """Firings to compare; `side_2P` are the sides that problems count for."""

    name: str
    n_features: int
    files: Sequence[FiringBuckets]
    side_2P: np.ndarray


class _Layer(NamedTuple):
    """The SAEs of the layer that is at work, and their firings on the folders seen so far."""

    saes: dict[str, Sae]
    files: dict[tuple[str, Path], FiringBuckets]
    twins: dict[tuple[Path, Path], Twins]
    scaling: list[Scaling]


class UnitRunner:
    """Compares units one after the other; the codes of rows, and the firings of a layer until the
    next one, lie in files below `scratch`. Use as a context.
    """

    def __init__(self, saes: Saes, units: Sequence[Unit], config: Config, scratch: Path) -> None:
        self._runs, self._config, self._scratch = saes, config, scratch
        self._device = pick_device(config.device)
        folders = dict.fromkeys(f for unit in units for f in (unit.reasoning, unit.instruct))
        stores = {folder: ActStore(folder) for folder in folders}
        for store in stores.values():
            store.check_layers([unit.layer for unit in units])
        self._data = {name: open_data_set(slug(name), store) for name, store in stores.items()}
        self._models = [ActStore(folder) for folder in saes.same_texts]
        if self._models:
            check_same_texts(*self._models)
        for store in self._models:
            store.check_layers([unit.layer for unit in units])
        self._sides: dict[tuple[Path, Path], Sides] = {}
        self._layers: dict[int, _Layer] = {}
        self._pairs, self._firings = ExitStack(), ExitStack()

    def __enter__(self) -> "UnitRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._firings.close()
        self._pairs.close()

    def run(self, unit: Unit) -> UnitResult:
        """Compare one unit."""
        config, layer, sides = self._config, self._layer(unit.layer), self._pair(unit)
        own = self._source("sae", layer, sides, unit)
        options = {"n_resamples": config.resamples, "seed": config.seed}
        compared = compare_all(sides, own.files, own.side_2P, n_features=own.n_features, **options)
        found = describe(sides, own.files, n_features=own.n_features)
        favours = self._verdicts(compared)
        twins = self._twins(layer, unit) if self._runs.twins else None
        names = (slug(unit.reasoning), slug(unit.instruct))
        place = {"layer": unit.layer, "reasoning": names[0], "instruct": names[1]}
        shares = share_rows(
            compared,
            favours,
            found.mass_share_FC,
            place=place | {"source": own.name},
            kept={m.control.name: m.kept for m in sides.matchings},
            fdr=config.fdr,
            groups=twins and {"stable": twins.stable_F, "unstable": ~twins.stable_F},
            by_chance=twins and twins.chance,
        )
        for source, mass_FC in self._baselines(layer, sides, unit, compared[NONE]):
            mass_FC = found.mass_share_FC if mass_FC is None else mass_FC
            shares += self._baseline_rows(source, sides, mass_FC, place)
        columns = diff_columns(
            compared,
            found,
            favours,
            layer=unit.layer,
            names=names,
            n_rows=sides.pair.n_rows,
            n_problems=sides.matchings[0].n_problems,
            twins=twins,
            scaling=self._scaling(layer),
        )
        return UnitResult(columns, shares, int((~compared[NONE].fires_F).sum()))

    def _baselines(
        self, layer: _Layer, sides: Sides, unit: Unit, own: Comparison
    ) -> Iterator[tuple[_Source, np.ndarray | None]]:
        """Yield each baseline, and its share of activation by category where that is another."""
        config = self._config
        if "frozen" in layer.saes:
            frozen = self._source("frozen", layer, sides, unit)
            yield frozen, mass_shares(sides, frozen.files, n_features=frozen.n_features)
        for number in range(config.random_sets):
            sae = self._random(layer.saes["sae"], unit, own, seed=config.seed + number)
            with ExitStack() as stack:
                files = [stack.enter_context(self._encode(sae, name)) for name in unit[1:]]
                source = _Source(_name("random", number), sae.n_features, files, sides.side_2P)
                yield source, mass_shares(sides, files, n_features=sae.n_features)
        rng = np.random.default_rng(config.seed)
        source = self._source("sae", layer, sides, unit)
        for number in range(config.permutations):
            side_2P = sides.flipped(rng)
            yield source._replace(name=f"permuted-{number + 1}", side_2P=side_2P), None

    def _baseline_rows(
        self, source: _Source, sides: Sides, mass_FC: np.ndarray, place: Mapping[str, Any]
    ) -> list[DiffShare]:
        compared = compare_all(sides, source.files, source.side_2P, n_features=source.n_features)
        return share_rows(
            compared,
            self._verdicts(compared),
            mass_FC,
            place={**place, "source": source.name},
            kept={m.control.name: m.kept for m in sides.matched(source.side_2P)},
            fdr=self._config.fdr,
        )

    def _verdicts(self, compared: Mapping[str, Comparison]) -> dict[str, np.ndarray]:
        config = self._config
        return verdicts(compared, fdr=config.fdr, min_log2_ratio=config.min_log2_ratio)

    def _pair(self, unit: Unit) -> Sides:
        folders = (unit.reasoning, unit.instruct)
        if folders not in self._sides:
            words, data = self._config.reason_words, [self._data[name] for name in folders]
            pair = PairRows(data[0], data[1], words=words, folder=self._scratch)
            self._sides[folders] = Sides(self._pairs.enter_context(pair), n_words=len(words))
        return self._sides[folders]

    def _layer(self, number: int) -> _Layer:
        if number not in self._layers:
            self._firings.close()
            self._layers.clear()
            runs = {"sae": self._runs.own, "frozen": self._runs.frozen}
            saes = {name: self._load(run, number) for name, run in runs.items() if run is not None}
            self._layers[number] = _Layer(saes, {}, {}, [])
        return self._layers[number]

    def _load(self, run: SaeRun, layer: int) -> Sae:
        return load_sae(run.layers[layer], device=self._device)

    def _source(self, name: str, layer: _Layer, sides: Sides, unit: Unit) -> _Source:
        """Return the firings of an SAE on both folders, encoded once a layer."""
        sae = layer.saes[name]
        for folder in unit[1:]:
            if (name, folder) not in layer.files:
                file = self._firings.enter_context(self._encode(sae, folder))
                layer.files[name, folder] = file
        files = [layer.files[name, folder] for folder in unit[1:]]
        return _Source(name, sae.n_features, files, sides.side_2P)

    def _encode(self, sae: Sae, folder: Path) -> FiringBuckets:
        pieces = encode_store(sae, self._data[folder].store, device=self._device)
        return FiringBuckets(self._scratch, pieces, n_features=sae.n_features)

    def _random(self, sae: Sae, unit: Unit, own: Comparison, *, seed: int) -> Sae:
        stores = tuple(self._data[folder].store for folder in unit[1:])
        n_rows = np.array([store.n_rows for store in stores], dtype=np.float64)
        rate_F = (own.rates_2F * n_rows[:, None]).sum(axis=0) / n_rows.sum()
        return random_directions(sae, rate_F, sample_states(stores, sae.layer), seed=seed)

    def _twins(self, layer: _Layer, unit: Unit) -> Twins:
        folders = (unit.reasoning, unit.instruct)
        if folders not in layer.twins:
            own = layer.saes["sae"]
            others = [self._load(run, own.layer) for run in self._runs.twins]
            stores = [self._data[folder].store for folder in folders]
            layer.twins[folders] = find_twins(own, others, stores, seed=self._config.seed)
        return layer.twins[folders]

    def _scaling(self, layer: _Layer) -> Scaling | None:
        """Return the latent scaling of the layer, where two models' states are given."""
        if self._models and not layer.scaling:
            layer.scaling.append(latent_scaling(layer.saes["sae"], *self._models))
        return layer.scaling[0] if layer.scaling else None


def _name(kind: str, number: int) -> str:
    return kind if number == 0 else f"{kind}-{number + 1}"
