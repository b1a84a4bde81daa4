"""The part of `sae-bench` that runs the PRM: how much of its rewards each SAE keeps."""

from pathlib import Path

from rewardscope.errors import MissingInput
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.measure.reward_kept import measure_reward_kept
from rewardscope.sae.model.inference import Sae
from rewardscope.splits import is_test
from rewardscope.stages.labelled_solutions import encode_labelled, read_labelled
from rewardscope.stages.sae_bench_measures import KEPT, Value


class RewardsKept:
    """The PRM and the solutions of held-out problems. Raises: MissingInput where there is none."""

    def __init__(
        self, prm: str, generations: Path, *, share: float, split_seed: int, limit: int, device: str
    ) -> None:
        labelled = [
            row
            for row in read_labelled(generations)
            if is_test(row[0].id, share=share, seed=split_seed)
        ]
        if not labelled:
            raise MissingInput(f"{generations}: none of its problems is held out")
        self._scorer = HfScorer(prm, device=device)
        self._solutions, self.skipped = encode_labelled(
            labelled[:limit], self._scorer, task="sae-bench"
        )
        if len(labelled) > limit:
            self.skipped["solutions beyond --limit"] = len(labelled) - limit

    def of_sae(self, sae: Sae, *, seed: int) -> list[Value]:
        """Return the share of the rewards kept, of what mean ablation changes."""
        found = measure_reward_kept(self._scorer, {sae.layer: sae}, self._solutions, seed=seed)
        measured = found[sae.layer]
        estimate = measured.reward.share_of_mean
        if estimate is None:
            return []
        return [
            Value(
                KEPT, "of mean ablation", estimate, measured=measured.of_mean, draws=measured.draws
            )
        ]
