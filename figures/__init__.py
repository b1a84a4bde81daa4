"""The figures: each `fig_<name>.py` finds its result files, reads them and draws; `invoke figures`
saves PDF and PNG.

A figure module has `find(settings) -> list[Path]`, which raises MissingInput where there is nothing
to draw, and `draw(paths) -> Figure`.
"""
