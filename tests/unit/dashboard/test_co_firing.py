import numpy as np
import pytest

from rewardscope.dashboard.co_firing import CoFiring
from rewardscope.features.contexts import ShownFirings


def planted(n_rows: int, *, seed: int) -> np.ndarray:
    """Firing [rows, features]: 1 copies 0 nine times in ten, 2 and 3 are alone, 4 never fires."""
    random = np.random.default_rng(seed)
    fires = random.random((n_rows, 5)) < np.array([0.2, 0.02, 0.3, 0.1, 0.0])
    fires[:, 1] |= fires[:, 0] & (random.random(n_rows) < 0.9)
    return fires


def counted(fires: np.ndarray, *, step: int, max_rows: int = 10**6) -> CoFiring:
    found = CoFiring(fires.shape[1], n_rows=len(fires), max_rows=max_rows)
    for start in range(0, len(fires), step):
        row_E, place_E = fires[start : start + step].nonzero()
        part = ShownFirings(place_E.astype(np.int64), row_E, np.ones(len(row_E)))
        found.add(part, len(fires[start : start + step]))
    return found


@pytest.mark.parametrize("step", [7, 5000])
def test_phi_is_the_correlation_of_firing_and_pmi_how_far_from_chance(step: int) -> None:
    fires = planted(5000, seed=0)
    found = counted(fires, step=step)
    best = found.strongest(0, 3)[0]
    both = (fires[:, 0] & fires[:, 1]).mean()
    assert best.place == 1
    assert best.together == (fires[:, 0] & fires[:, 1]).sum()
    assert best.correlation == pytest.approx(np.corrcoef(fires[:, 0], fires[:, 1])[0, 1])
    assert best.pmi == pytest.approx(np.log2(both / fires[:, 0].mean() / fires[:, 1].mean()))
    assert found.n_counted == 5000
    assert found.strongest(4, 3) == []
    assert all(partner.place != 0 for partner in found.strongest(0, 5))


def test_of_many_rows_every_so_many_are_counted_wherever_the_pieces_end() -> None:
    fires = planted(5000, seed=1)
    found = [counted(fires, step=step, max_rows=1300) for step in (13, 5000)]
    assert [one.n_counted for one in found] == [1250, 1250]  # every fourth
    assert found[0].strongest(0, 3) == found[1].strongest(0, 3)
    assert found[0].strongest(0, 1)[0].together == (fires[::4, 0] & fires[::4, 1]).sum()
