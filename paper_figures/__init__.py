"""The figures of the paper, from nothing: trained, measured, drawn, reported; `python -m paper_figures list`."""
