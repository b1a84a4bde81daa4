"""The figures: each `fig_<name>.py` finds its result files, reads them and draws; `invoke figures`
saves PDF and PNG.

A figure module has `find(settings) -> list[Path]`, which raises MissingInput where there is nothing
to draw, and `draw(paths) -> Figure`. A new one is a file of that name and no more: `style.canvas`
gives it its question and its axes, `style.finish` its note and its legend.
"""
