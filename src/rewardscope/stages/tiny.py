"""`tiny`: rebuild the models that ship with the project, or measure them."""

from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import ConfigError
from rewardscope.log import get_logger
from rewardscope.paths import TINY
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Rebuild the shipped models from scratch (45 min on 2 cores), or measure them with
    --evaluate.
    """

    evaluate: bool = option(
        False, help="measure the models that are there instead of making them", key=False
    )
    limit: int = option(300, help="test problems for --evaluate")
    out: Path = option(TINY, help="folder of the three models", key=False)

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ConfigError(
                f"--limit {self.limit}: at least 2 problems are needed for an interval"
            )


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(StageConfig):
    """How one policy is trained; `start` names the model whose weights it starts from."""

    style: str = option(help="solution style")
    start: str | None = option(None, help="shipped model to start from")
    steps: int = option(560, help="optimizer steps")
    batch: int = option(64, help="solutions a step")
    lr: float = option(3e-3, help="peak learning rate")
    seed: int = option(0, help="seed")


@dataclass(frozen=True, kw_only=True)
class PrmRecipe(StageConfig):
    """How the PRM is trained, from the weights of tiny-instruct and on its samples."""

    layers: int = option(6, help="decoder blocks")
    samples: int = option(2000, help="solutions sampled from the policy")
    batch: int = option(64, help="solutions an optimizer step")
    expect_steps: int = option(400, help="optimizer steps of the policy's blocks alone")
    expect_lr: float = option(2.5e-3, help="their peak learning rate")
    steps: int = option(400, help="optimizer steps of all blocks")
    lr: float = option(2e-3, help="their peak learning rate")
    seed: int = option(0, help="seed")


def run(config: Config, settings: Settings) -> list[Path]:
    """Make the three models, each a stage of its own, or evaluate them."""
    if config.evaluate:
        from rewardscope.stages.tiny_evaluate import evaluate

        return evaluate(config.out, limit=config.limit, force=config.force, settings=settings)
    recipes: dict[str, PolicyRecipe | PrmRecipe] = {
        "tiny-instruct": PolicyRecipe(style="tiny-instruct", force=config.force),
        "tiny-reasoner": PolicyRecipe(
            style="tiny-reasoner", start="tiny-instruct", steps=400, lr=2e-3, force=config.force
        ),
        "tiny-prm": PrmRecipe(force=config.force),
    }
    return [_make(name, recipe, config.out) for name, recipe in recipes.items()]


def _make(name: str, recipe: PolicyRecipe | PrmRecipe, home: Path) -> Path:
    out = home / name
    start = recipe.start if isinstance(recipe, PolicyRecipe) else "tiny-instruct"
    stage = Stage("tiny", recipe, inputs={"start": home / start} if start else {}, out=out)
    if stage.is_done():
        return out
    from rewardscope.tiny.build import build_policy, build_prm

    with stage:
        common = {
            "steps": recipe.steps,
            "batch": recipe.batch,
            "lr": recipe.lr,
            "seed": recipe.seed,
        }
        if isinstance(recipe, PolicyRecipe):
            loss = build_policy(
                stage.work, style=recipe.style, start=home / start if start else None, **common
            )
        else:
            more = {
                "layers": recipe.layers,
                "samples": recipe.samples,
                "expect_steps": recipe.expect_steps,
                "expect_lr": recipe.expect_lr,
            }
            loss = build_prm(stage.work, start=home / "tiny-instruct", **more, **common)
        get_logger().info(f"tiny: {name} ended at a training loss of {loss:.4f}")
        files = sorted(path for path in stage.work.iterdir() if path.name[0] != ".")
        stage.finish(
            files, rows=recipe.steps * recipe.batch, extra={"training_loss": round(loss, 5)}
        )
    return out
