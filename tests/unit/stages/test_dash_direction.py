from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.errors import ConfigError
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.stages.dash_direction import choose_prm, cosines, read_direction
from tests.contract.tiny_prms import make_prm


def sae_of(W_dec_FD: torch.Tensor) -> Sae:
    n_features, width = W_dec_FD.shape
    return Sae(
        W_enc_DF=W_dec_FD.T.clone(),
        b_enc_F=torch.zeros(n_features),
        W_dec_FD=W_dec_FD,
        b_dec_D=torch.zeros(width),
        k=1,
        layer=0,
        info={},
    )


def test_a_linear_head_gives_the_cosine_of_each_decoder_direction(tmp_path: Path) -> None:
    folder = make_prm("trl", tmp_path)
    direction = read_direction(str(folder), None)
    assert direction.unit_D is not None and direction.why_not is None
    unit_D = torch.from_numpy(direction.unit_D)
    across_D = torch.randn(len(unit_D), generator=torch.Generator().manual_seed(0))
    across_D -= (across_D @ unit_D) * unit_D
    rows = [3 * unit_D, -0.1 * unit_D, across_D, unit_D + across_D / across_D.norm(), 0 * unit_D]
    found_F = cosines(direction, sae_of(torch.stack(rows)))
    assert found_F == pytest.approx([1, -1, 0, np.sqrt(0.5), 0], abs=1e-5)
    with pytest.raises(ConfigError, match="width"):
        cosines(direction, sae_of(torch.eye(4)))


def test_where_there_is_no_direction_the_reason_is_said(tmp_path: Path) -> None:
    direction = read_direction(str(make_prm("qwen", tmp_path)), None)
    assert direction.unit_D is None and "is not linear" in str(direction.why_not)
    assert cosines(direction, sae_of(torch.eye(4))) is None
    for asked, of_states, why in (
        ("none", ["a"], "--prm none"),
        (None, [None], "name no PRM"),
        (None, ["a", "b"], "several models"),
        (None, ["nobody/never-loaded", "nobody/never-loaded"], "not on this machine"),
    ):
        prm, reason = choose_prm(asked, of_states)
        assert prm is None and why in str(reason)
    assert choose_prm(None, [str(tmp_path)]) == (str(tmp_path), None)
    assert choose_prm("asked", ["other"]) == ("asked", None)
