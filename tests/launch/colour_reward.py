"""A reward that asks for a column which the row contract does not have."""


def colour(completions, colour, **_):
    return [0.0] * len(completions)
