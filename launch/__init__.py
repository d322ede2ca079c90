"""The programs; ``byname`` lists them (:mod:`launch.cli`)."""
