from pathlib import Path

import torch

from rewardscope.sae.model.card import write_card
from rewardscope.sae.model.checkpoint import save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json


def test_the_card_says_what_the_saes_are_and_how_good_each_layer_is(tmp_path: Path) -> None:
    folders = {}
    for layer in (11, 3):
        sae = Sae(
            W_enc_DF=torch.zeros(4, 6),
            b_enc_F=torch.zeros(6),
            W_dec_FD=torch.zeros(6, 4),
            b_dec_D=torch.zeros(4),
            threshold_F=torch.ones(6),
            activation="batchtopk",
            layer=layer,
            info={"prm": "some/prm", "trained_on": ["a", "b"]},
        )
        folders[layer] = tmp_path / f"layer_{layer:02d}"
        save_sae(folders[layer], sae)
    estimate = {"value": 0.0123, "low": 0.01, "high": 0.02, "n": 5}
    write_json(
        folders[3] / "quality.json",
        {
            "layer": 3,
            "fvu": estimate,
            "l0": estimate,
            "dead_share": estimate,
            "n_rows": 77,
            "n_problems": 5,
        },
    )
    lines = write_card(tmp_path, folders, name="toy run").read_text().splitlines()
    assert "# toy run" in lines
    assert "- activation: batchtopk; a feature fires above its threshold" in lines
    assert "- trained on: a, b" in lines
    assert any("some/prm" in line for line in lines)
    assert (
        "| 3 | 6 | 0.0123 (0.01 to 0.02) | 0.0123 (0.01 to 0.02) | 0.0123 (0.01 to 0.02) | 77 | 5 |"
        in lines
    )
    assert not any(line.startswith("| 11 ") for line in lines)  # not measured
