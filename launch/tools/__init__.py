"""Programs that are needed less often: measuring speed, mining, exporting, the tiny models."""
