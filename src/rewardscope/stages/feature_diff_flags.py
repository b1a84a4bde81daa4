"""The flags of `feature-diff`, and its units of work."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers
from rewardscope.sae.model.runs import SaeRun
from rewardscope.stage import MOST_PARTS, check_part, flag_of, option
from rewardscope.stages.model_flags import DeviceFlag

REASON_WORDS = (
    "wait",
    "hmm",
    "alternatively",
    "maybe",
    "perhaps",
    "let me",
    "however",
    "therefore",
    "but",
    "another",
)
"""Those of the code of arXiv 2503.18878."""


@dataclass(frozen=True, kw_only=True)
class Config(DeviceFlag):
    """Compare how often SAE features fire on reasoning and on instruct data.

    Every pair of a reasoning and an instruct folder of save-acts, at every layer, is a unit of
    work; the units are dealt to --total parts and --part makes one of them. Writes <data
    dir>/features/<sae>/diff/part_XX_of_YY.parquet, a row a feature, and beside it
    part_XX_of_YY.shares.csv: how many features favour reasoning, on all rows and under each matched
    control, in the SAE and in baselines.
    """

    reasoning: tuple[str, ...] = option(
        help="folders of save-acts made from reasoning models, separated by commas"
    )
    instruct: tuple[str, ...] = option(
        help="folders of save-acts made from non-reasoning models, separated by commas"
    )
    sae: str | None = option(
        None, help="SAE run, layer folder or file (default: SAE_CHECKPOINT_PATH)", key=False
    )
    name: str | None = option(
        None, help="stands for the SAE in the folder of the result", key=False
    )
    layers: str = option("all", help="layers of the SAE run: all, 15, 0-27 or 0,3,5-7")
    part: int = option(1, help="which part of the work to do, from 1")
    total: int = option(1, help="how many parts the work is dealt to", at_most=MOST_PARTS)
    fdr: float = option(
        0.05, help="false discovery rate up to which a feature counts as favouring a side"
    )
    min_log2_ratio: float = option(
        1.0, help="least log2 of the ratio of firing rates for that; 1 is twice as often"
    )
    resamples: int = option(1000, help="bootstrap resamples of problems", at_most=1_000_000)
    seed: int = option(0, help="seed of the bootstrap")
    baseline: str | None = option(
        None, help="SAE run of train-sae --freeze, which is compared in the same way", key=False
    )
    twin: tuple[str, ...] = option(
        (), help="SAE runs of other seeds, separated by commas: which features come back", key=False
    )
    same_texts: tuple[str, ...] = option(
        (),
        help="two folders of save-acts of the same texts, that of the SAE's model first: how much"
        " of each feature is in the states of both (latent scaling)",
        key=False,
    )
    random_sets: int = option(
        1,
        help="sets of random directions that fire as often as the features, as a baseline",
        at_most=1000,
    )
    permutations: int = option(
        3, help="times that sides are drawn anew problem by problem, as a baseline", at_most=1000
    )
    reason_words: tuple[str, ...] = option(
        REASON_WORDS, help="words of reasoning, for ReasonScore, separated by commas"
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.reasoning or not self.instruct:
            raise ConfigError(
                "--reasoning and --instruct each need at least one folder of save-acts"
            )
        check_part(self.part, self.total)
        if not 0 < self.fdr < 1:
            raise ConfigError(f"--fdr {self.fdr}: it must be above 0 and below 1")
        if self.min_log2_ratio < 0:
            raise ConfigError(f"--min-log2-ratio {self.min_log2_ratio}: it must be 0 or more")
        if self.resamples < 1:
            raise ConfigError(f"--resamples {self.resamples}: it must be at least 1")
        for name in ("random_sets", "permutations"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{flag_of(name)} {getattr(self, name)}: it must be 0 or more")
        if len(self.same_texts) not in (0, 2):
            raise ConfigError(
                f"--same-texts {','.join(self.same_texts)}: name two folders, that of the SAE's"
                " model first"
            )
        if not all(word.strip() for word in self.reason_words):
            raise ConfigError("--reason-words: a word is empty")


class Unit(NamedTuple):
    """One layer of one pair of folders."""

    layer: int
    reasoning: Path
    instruct: Path


class Saes(NamedTuple):
    """The SAE, those that it is set beside, and the two folders of --same-texts."""

    own: SaeRun
    frozen: SaeRun | None
    twins: tuple[SaeRun, ...]
    same_texts: tuple[Path, ...] = ()
