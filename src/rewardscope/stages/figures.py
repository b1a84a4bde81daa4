"""`figures`: draw every figure from result files, as PDF and PNG."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import MissingInput, UnknownName
from rewardscope.log import get_logger
from rewardscope.paths import PROJECT, figures_dir
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option
from rewardscope.stages.stale import fresh_of
from rewardscope.storage.files import result_of


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Draw the figures from result files, PDF and PNG."""

    only: str | None = option(None, help="draw this figure alone", key=False)

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in figure_names():
            raise UnknownName("figure", self.only, figure_names())


def figure_names() -> list[str]:
    """Return the names of the figures, from the files in `figures/`. Raises: MissingInput."""
    names = sorted(
        path.stem.removeprefix("fig_") for path in (PROJECT / "figures").glob("fig_*.py")
    )
    if not names:
        raise MissingInput("figures are drawn by files of the repository; run this in its clone")
    return names


def run(config: Config, settings: Settings) -> list[Path]:
    """Draw each figure whose results are there.

    Raises: MissingInput where none is, or the one asked for is not.
    """
    drawn, missing = [], []
    if str(PROJECT) not in sys.path:  # invoke puts it there, the command rewardscope does not
        sys.path.insert(0, str(PROJECT))
    for name in [config.only] if config.only else figure_names():
        module = importlib.import_module(f"figures.fig_{name}")
        try:
            sources = fresh_of(name, module.find(settings), settings)
        except MissingInput as error:
            missing.append(f"{name}: {error}{_left(name, settings)}")
            continue
        drawn.append(_draw(name, module, sources, config, figures_dir(settings.data_dir)))
    for line in missing:
        get_logger().info(f"figures: left out {line}")
    if not drawn:
        raise MissingInput("; ".join(missing))
    return drawn


def _left(name: str, settings: Settings) -> str:
    """Say so where a picture of earlier results lies beside those that are drawn now."""
    old = figures_dir(settings.data_dir) / f"{name}.png"
    return f"; {old} is stale: it shows earlier results" if old.is_file() else ""


def _draw(name: str, module, sources: list[Path], config: Config, folder: Path) -> Path:
    out = folder / f"{name}.png"
    stage = Stage(
        "figures",
        config,
        inputs={str(number): result_of(path) for number, path in enumerate(sources)},
        out=out,
    )
    if stage.is_done():
        return out
    from figures.style import use_style

    with stage:
        use_style()
        figure, pdf = module.draw(sources), stage.work.with_suffix(".pdf")
        # Without a date in it, the same results give the same file.
        figure.savefig(pdf, metadata={"CreationDate": None})
        figure.savefig(stage.work)
        stage.finish([stage.work, pdf], rows=len(sources))
    return out
