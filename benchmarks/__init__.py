"""Benchmarks: how well a policy knows the user's things.

Making text (:mod:`benchmarks.runner`) is apart from scoring it (:mod:`benchmarks.naming`,
``recognition``, ``qa``, ``localization``, ``captions``), so that predictions kept on disk can be
scored again, and scorers tested without a model.
"""
