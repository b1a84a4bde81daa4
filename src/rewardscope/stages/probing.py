"""What the tasks that fit probes have in common: their flags."""

from dataclasses import dataclass

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers
from rewardscope.probes.penalties import parse_penalties
from rewardscope.probes.targets import TARGETS, find_target
from rewardscope.splits import SPLIT_SEED, TEST_SHARE
from rewardscope.stage import StageConfig, option


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(StageConfig):
    """Base of the configs of train-linreg and probe-transfer."""

    name: str | None = option(None, help="name of the result's folder", key=False)
    layers: str = option("all", help="layers among the captured ones: all, 15, 0-27 or 0,3,5-7")
    target: str = option(
        "reward",
        help="what the probe predicts: "
        + ", or ".join(f"{target.name}, {target.summary}" for target in TARGETS.values()),
    )
    seed: int = option(
        SPLIT_SEED,
        help="seed of the split by problem, of the folds, of the controls and of the bootstrap",
    )
    ridge: str = option(
        "1e-3..1e4",
        help=(
            "penalties on the squared weights of the standardised states; of several one is chosen"
        ),
    )
    folds: int = option(5, help="folds of problems over which the penalty is chosen")
    test_share: float = option(
        TEST_SHARE, help="share of problems that are held out, above 0 and below 1"
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        find_target(self.target)
        parse_penalties(self.ridge)
        if not 2 <= self.folds <= 100:
            raise ConfigError(f"--folds {self.folds}: it must be 2 to 100")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"--test-share {self.test_share}: it must be above 0 and below 1")

    @property
    def penalties(self) -> tuple[float, ...]:
        return parse_penalties(self.ridge)

    @property
    def n_folds(self) -> int:
        """The folds that are needed: one where there is nothing to choose."""
        return self.folds if len(self.penalties) > 1 else 1
