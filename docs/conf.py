"""Sphinx: ``make docs``."""

project = "amtheory"
author = "The amtheory developers"
extensions = ["myst_nb"]
myst_enable_extensions = ["dollarmath", "amsmath"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # for each cell: a slow processor takes longer than the 30 s of the default
nb_merge_streams = True
html_theme = "furo"
exclude_patterns = ["_build", "jupyter_execute"]
