"""The shipped configs, as package data: ``configs/...`` is found from any folder."""
