"""One module per task: its config and `run(config, settings)`, the only code that decides what is
read and written.
"""
