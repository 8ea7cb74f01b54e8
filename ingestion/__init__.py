"""Where rows come from, and which rows are fit to use: sources, data contract, quarantine."""
