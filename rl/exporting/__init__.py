"""A trained policy leaves the run: merged, verified, with a card."""
