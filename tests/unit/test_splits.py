"""Splits by problem."""

from rewardscope.splits import deal_folds, hold_out, is_test
from rewardscope.stages.train_linreg import Config as ProbeConfig
from rewardscope.stages.train_sae import Config as SaeConfig

IDS = [f"math500/{index}" for index in range(5000)]


def test_the_held_out_share_is_about_what_was_asked_for() -> None:
    for share in (0.2, 0.5):
        held_out = sum(is_test(problem, share=share, seed=0) for problem in IDS)
        # four standard errors
        assert abs(held_out / len(IDS) - share) < 4 * (share * (1 - share) / len(IDS)) ** 0.5


def test_a_problem_keeps_its_side_in_every_run_and_on_every_machine() -> None:
    # sha256("0:math500/1") begins 0x87... and sha256("0:math500/2") begins with the byte that the
    # test reads here by hand.
    import hashlib

    for problem in IDS[:50]:
        first_byte = hashlib.sha256(b"0:" + problem.encode()).digest()[0]
        if first_byte != 51:  # 51 / 256 is the last byte below a fifth
            assert is_test(problem, share=0.2, seed=0) == (first_byte < 51)


def test_a_larger_share_holds_out_the_same_problems_and_more() -> None:
    small = {problem for problem in IDS if is_test(problem, share=0.1, seed=0)}
    large = {problem for problem in IDS if is_test(problem, share=0.3, seed=0)}
    assert small < large


def test_another_seed_gives_an_unrelated_split() -> None:
    both = sum(
        is_test(problem, share=0.5, seed=0) and is_test(problem, share=0.5, seed=1)
        for problem in IDS
    )
    assert abs(both / len(IDS) - 0.25) < 0.03


def test_folds_differ_by_one_problem_at_most_and_hold_each_problem_once() -> None:
    dealt = deal_folds(IDS[:13] + IDS[:13], folds=5, seed=0)
    assert set(dealt) == set(IDS[:13])
    assert sorted(list(dealt.values()).count(fold) for fold in range(5)) == [2, 2, 3, 3, 3]
    assert (
        dealt
        == deal_folds(reversed(IDS[:13]), folds=5, seed=0)
        != deal_folds(IDS[:13], folds=5, seed=1)
    )


def test_by_default_no_problem_that_an_sae_trains_on_is_a_test_problem_of_a_probe() -> None:
    ids = [f"math500/{index}" for index in range(10_000)]
    sae, probe = SaeConfig(ds_names=("x",)), ProbeConfig(ds_name="x", target="reward")
    held_out = hold_out(ids, share=sae.holdout, seed=sae.split_seed)
    test = {name for name in ids if is_test(name, share=probe.test_share, seed=probe.seed)}
    assert 1900 < len(test) < 2100 and test <= held_out
    # another seed of the weights does not move a problem
    assert SaeConfig(ds_names=("x",), seed=7).split_seed == sae.split_seed


def test_of_few_problems_one_at_least_is_held_out_and_one_stays() -> None:
    none_below = [name for name in IDS if not is_test(name, share=0.2, seed=0)][:4]
    all_below = [name for name in IDS if is_test(name, share=0.2, seed=0)][:4]
    assert len(hold_out(none_below, share=0.2, seed=0)) == 1
    assert len(hold_out(all_below, share=0.2, seed=0)) == 3
