"""One module a figure: `compute(workspace) -> Dataset`, `plot(dataset) -> Figure`, `findings(dataset) -> lines`."""
