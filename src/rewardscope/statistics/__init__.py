"""Numbers with intervals, over problems.

Rows of one problem depend on one another, so a problem is what is drawn and what is left out.

    draws = draw(problem_N, seed=0)                    # draws.py: the same draws for every quantity
    own, other = auroc(right_N, a_N, draws), auroc(right_N, b_N, draws)     # measures.py
    interval(own, draws, scale=UNIT)                   # intervals.py: an Estimate
    interval(own - other, draws)                       # paired by construction
    name, estimate = lead(own, {"other": other}, draws)                # over the best of several
    share(right_N, draws)                              # of rows that are 0 or 1, or in between
    paired_share(right_a_P - right_b_P, seed=0)        # two methods on the same problems

A quantity is a `Measured`: its value, and its value without each unit. A unit is a problem, or a
group of problems where there are more than `MAX_UNITS`. Means and differences of `Measured` are
`Measured`, so whatever is compared is compared on the same problems. `effects.py` keeps values
problem by problem beside a table, so that later methods join with earlier ones.

An interval needs problems: with fewer than `MIN_PROBLEMS`, or where nothing varies, `low` and
`high` of an Estimate are None, shown as `-`.
"""
