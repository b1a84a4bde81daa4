"""Each change of states against its formula."""

import pytest
import torch

from rewardscope.interventions import edits

N, D = 40, 8


@pytest.fixture
def x_ND() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def test_what_is_projected_out_leaves_nothing_in_the_span_and_all_beside_it(
    x_ND: torch.Tensor,
) -> None:
    directions = torch.zeros(3, D)
    directions[0, 0], directions[1, :2], directions[2, 0] = 2.0, 1.0, 5.0  # the first two axes
    out = edits.project_out(directions)(x_ND)
    assert out[:, :2].abs().max() < 1e-6
    torch.testing.assert_close(out[:, 2:], x_ND[:, 2:])
    centre = torch.arange(D, dtype=torch.float32)
    out = edits.project_out(directions, centre_D=centre)(x_ND)
    torch.testing.assert_close(out[:, :2], centre[:2].expand(N, 2))
    torch.testing.assert_close(out[:, 2:], x_ND[:, 2:])


def test_features_are_scaled_and_what_they_do_not_rebuild_stays(x_ND: torch.Tensor) -> None:
    encoder = torch.randn(D, 2, generator=torch.Generator().manual_seed(1))
    decoder = torch.randn(2, D, generator=torch.Generator().manual_seed(2))

    def read(states_ND: torch.Tensor) -> torch.Tensor:
        return torch.relu(states_ND @ encoder)

    error = x_ND - read(x_ND) @ decoder
    torch.testing.assert_close(edits.scale_features(read, decoder, factor=0)(x_ND), error)
    doubled = edits.scale_features(read, decoder, factor=2)(x_ND)
    torch.testing.assert_close(doubled, 2 * read(x_ND) @ decoder + error)
    kept = edits.reconstruct(lambda states_ND: read(states_ND) @ decoder, keep_error=error)(x_ND)
    torch.testing.assert_close(kept, x_ND)


def test_a_random_control_moves_each_state_as_far_in_another_direction(x_ND: torch.Tensor) -> None:
    change = edits.add(torch.ones(D), scale=3.0)
    moved = edits.random_of_like_norm(change, seed=0)(x_ND) - x_ND
    torch.testing.assert_close(moved.norm(dim=1), torch.full((N,), 3.0 * D**0.5))
    cosines = torch.nn.functional.cosine_similarity(moved, torch.ones(1, D))
    assert abs(float(cosines.mean())) < 0.2 and float(cosines.std()) > 0.2
    again = edits.random_of_like_norm(change, seed=0)(x_ND) - x_ND
    assert torch.equal(moved, again)


def test_resampled_states_are_of_the_source_and_the_same_at_each_call(x_ND: torch.Tensor) -> None:
    source = torch.arange(5.0)[:, None].expand(5, D)
    change = edits.resample(source, seed=3)
    drawn = change(x_ND)
    assert torch.equal(drawn, change(x_ND)) and len(drawn[:, 0].unique()) == 5
    assert torch.equal(drawn, drawn[:, :1].expand(N, D))


def test_zero_mean_and_replacement(x_ND: torch.Tensor) -> None:
    assert not edits.zero()(x_ND).any()
    assert torch.equal(edits.mean(x_ND.mean(dim=0))(x_ND)[3], x_ND.mean(dim=0))
    assert torch.equal(edits.replace(x_ND.flip(0))(x_ND), x_ND.flip(0))
