"""The training run: batches from a stream, curves to a log, a progress bar in rows."""

from rewardscope.log import RunLog, progress
from rewardscope.sae.inference import Sae
from rewardscope.sae.stream import ActStream
from rewardscope.sae.train import StepReport, Trainer, TrainOptions

_SAMPLE_ROWS = 8192
_LOG_EVERY = 50


def train_saes(stream: ActStream, options: TrainOptions, *, n_rows: int, run_log: RunLog) -> dict[int, Sae]:
    """Train one SAE a layer on `n_rows` rows of `stream`; return them for raw, unscaled activations."""
    trainer = Trainer(stream.sample(_SAMPLE_ROWS), options)
    for step, batch in enumerate(progress(stream.batches(n_rows), "train-sae", total=options.n_steps, unit="batch")):
        reports = trainer.step(batch)
        if step % _LOG_EVERY == 0 or step == options.n_steps - 1:
            run_log.log(_metrics(reports), step=step)
    return trainer.export()


def _metrics(reports: dict[int, StepReport]) -> dict[str, float]:
    return {f"{name}/layer_{layer}": float(value) for layer, report in reports.items() for name, value in report._asdict().items()}
