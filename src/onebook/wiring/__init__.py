"""The only place that constructs things: each process's parts, built inside its event loop and taken down again."""
