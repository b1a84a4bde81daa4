"""The training run: batches from a stream, curves to a log, a progress bar in rows, the state to
disk.
"""

from rewardscope.log import RunLog, progress_bar
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.train.calibration import CALIBRATION_ROWS
from rewardscope.sae.train.ranks import Team
from rewardscope.sae.train.state import RunState
from rewardscope.sae.train.stream import ActStream
from rewardscope.sae.train.trainer import StepReport, Trainer, TrainOptions

_SAMPLE_ROWS = 8192
_LOG_EVERY = 50


def train_saes(
    stream: ActStream,
    options: TrainOptions,
    *,
    n_rows: int,
    run_log: RunLog,
    state: RunState,
    team: Team,
) -> dict[int, Sae]:
    """Train one SAE a layer on `n_rows` rows of `stream`, from where `state` is; return them for
    raw, unscaled activations.

    With several processes: each trains on its own rows of a batch, or its own layers, and the first
    one logs.
    """
    trainer = Trainer(stream.sample(_SAMPLE_ROWS), options, ranks=team.ranks)
    first = min(n_rows, state.load(trainer) * stream.batch)
    with progress_bar("train-sae", total=n_rows, unit="row", initial=first) as bar:
        for batch in stream.batches(first, n_rows):
            reports = trainer.step(team.own_rows(batch))
            if (trainer.n_done - 1) % _LOG_EVERY == 0 or trainer.n_done == options.n_steps:
                parts = team.collect(_metrics(reports))
                run_log.log(
                    {name: value for part in parts for name, value in part.items()},
                    step=trainer.n_done - 1,
                )
            if state.is_due(trainer.n_done) and trainer.n_done < options.n_steps:
                state.save(trainer)
            bar.update(len(next(iter(batch.values()))))
    n_calibration = min(CALIBRATION_ROWS, stream.n_rows)
    # every process that exports a layer does so from all of these rows, so that the number of
    # processes does not matter
    return trainer.export(stream.batches(0, n_calibration), n_rows=n_calibration)


def _metrics(reports: dict[int, StepReport]) -> dict[str, float]:
    return {
        f"{name}/layer_{layer}": float(value)
        for layer, report in reports.items()
        for name, value in report._asdict().items()
    }
