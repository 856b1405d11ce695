"""One figure a module: what a module must have to be one, `paper_figures.figure` tells."""
