import pytest
import torch

from rewardscope.sae.model.checkpoint import Sae
from tests.unit.features.firings import N_FEATURES, WIDTH, K


@pytest.fixture
def sae() -> Sae:
    random = torch.Generator().manual_seed(0)
    return Sae(
        W_enc_DF=torch.randn(WIDTH, N_FEATURES, generator=random),
        b_enc_F=torch.randn(N_FEATURES, generator=random) - 1,
        W_dec_FD=torch.randn(N_FEATURES, WIDTH, generator=random),
        b_dec_D=torch.randn(WIDTH, generator=random),
        k=K,
        layer=0,
        info={},
    )
