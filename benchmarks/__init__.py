"""Benchmarks: how well a policy knows the user's things.

Making text (:mod:`benchmarks.harness.predictions`) is apart from scoring it (:mod:`benchmarks.metrics.naming`,
``recognition``, ``qa``, ``localization``, ``captions``), so that predictions kept on disk can be
scored again, and scorers tested without a model.
"""
