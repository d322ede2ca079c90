"""Whose taste is it? Users with preference profiles, their pictures, and rows that ask about them.

The task of PreferThinker (arXiv 2511.00609): from a few pictures that a user likes and a few that
they dislike, say which of two new pictures they prefer.
"""
