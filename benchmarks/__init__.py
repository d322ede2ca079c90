"""Benchmarks: how well a policy knows the user's concepts.

Replies are made and kept on disk (:mod:`benchmarks.harness`) apart from scoring them
(:mod:`benchmarks.metrics`), so that kept replies can be scored again, and metrics tested without a
model. :mod:`benchmarks.registry` names the benchmarks.
"""
