"""What two real PRMs do on ProcessBench, from step scores that others published; no model is run.

    python -m benchmarks real_prms

The scores are of Qwen2.5-Math-PRM-7B and Skywork-o1-Open-PRM-7B on 1,100 solutions, also with the
question left out and with that of another problem (SqueezeAILab/reward-under-attack, Apache-2.0).
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import keep_row
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.stages.prm_bench import Config, run
from rewardscope.storage.tables import read_json

SOURCE = Path(__file__).parents[1] / "../shared/data/processbench_prm_scores.jsonl"
PRMS = ("Qwen2.5-Math-PRM-7B", "Skywork-o1-Open-PRM-Qwen-2.5-7B")
CONDITIONS = {
    "no question": "scores_without_question",
    "other question": "scores_with_other_question",
}


def main() -> None:
    if not SOURCE.is_file():
        print("real_prms: left out, the published scores are not here")
        return
    with tempfile.TemporaryDirectory() as folder:
        for prm, report in reports(Path(folder)):
            row = {"prm": prm, "solutions": report["solutions"], **numbers(report)}
            keep_row("real_prms", row)


def reports(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the report on each PRM and on each with another input, beside the other or itself."""
    source, settings = prepare(folder / "processbench.jsonl"), Settings(data_dir=folder / "data")
    against = dict(zip(PRMS, reversed(PRMS), strict=True))
    against |= {f"{prm}@{condition}": prm for prm in PRMS for condition in CONDITIONS}
    for prm in PRMS:
        run(Config(files=(str(source),), scores=prm), settings)
    for prm, other in against.items():
        config = Config(files=(str(source),), scores=prm, against=(other,))
        yield prm, read_json(run(config, settings))


def prepare(out: Path) -> Path:
    """Write the published scores as `prm-bench --scores` takes them; return the file."""
    rows = []
    for line in SOURCE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        scores = dict(row["scores"])
        for condition, field in CONDITIONS.items():
            scores |= {f"{prm}@{condition}": given for prm, given in row[field].items()}
        kept = ("id", "generator", "problem", "steps", "label", "final_answer_correct")
        about = {"subset": row["split"], "style": "instruct", "scores": scores}
        rows.append({field: row[field] for field in kept} | about)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return out


def numbers(report: dict[str, Any]) -> dict[str, str]:
    """Return the numbers of a report that the docs show, as text with their intervals."""
    steps, first = report["steps"], report["steps"]["first_error"]
    overall = next(each for each in steps["errors"] if each["by"] == "all")
    chances = next((each for each in steps["calibration"] if each["by"] == "all"), {})
    found = {
        f"{subset} {name}": estimate
        for subset, metrics in report["processbench"]["subsets"].items()
        for name, estimate in metrics.items()
    }
    found |= {
        "first error found": steps["first_error_found"],
        "right steps taken for wrong": overall["false_positive"],
        "wrong steps taken for right": overall["false_negative"],
        "AUROC": first["auroc"],
        "AUROC, same step number": first["same_step_number"],
        f"above {first['best_baseline']} alone": first["above_baseline"],
        "calibration error": chances.get("ece"),
    }
    found |= {f"AUROC of {name} alone": each for name, each in first["baselines"].items()}
    for beside in report["against"]:
        for name, value in beside.items():
            if isinstance(value, dict) and "value" in value:
                found[f"{name} beside {beside['other']}"] = value
        for name, value in beside.get("first_errors_found", {}).items():
            found[f"first error found by {name}"] = value
    return {name: str(Estimate(**each)) for name, each in found.items() if each is not None}


if __name__ == "__main__":
    main()
