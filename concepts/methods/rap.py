"""RAP: retrieve what is in an image by its regions, show it to a policy that was trained to use it.

Detector crops, whose classes are the database's categories, go through an encoder; the nearest
concepts of each crop, by L2 between vectors of length 1, stand in the prompt, those whose names the
text writes first (2410.13360). Where nothing is detected nothing is retrieved, unless
``retrieval.whole`` is ``fallback``. The database may be edited at any time.

As a method it is :mod:`concepts.methods.in_context` with that retrieval and without a gate;
what makes it RAP is the policy: ``configs/sft/rap_toybox.yaml`` trains one, with noise concepts in
its prompts that its answers do not follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from concepts.concept import Concept
from concepts.methods.finding import LiveFinder
from concepts.methods.in_context import InContext, InContextSettings
from concepts.methods.protocol import Learned, Picture, busy_seconds

FLOAT_BYTES = 4


@dataclass(frozen=True)
class RAPSettings(InContextSettings):
    """As of in-context; how it retrieves is ``retrieval``."""


class RAP(InContext):
    """In-context with RAP's retrieval. Learning a concept is encoding its pictures."""

    kind = "rap"
    Settings = RAPSettings

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """Encode the pictures of the database; without a database that is retrieved from, as of
        in-context."""
        if not concepts or not isinstance(self.finder, LiveFinder):
            return super().learn(concepts, negatives, progress)
        began = busy_seconds()
        dim = self.finder.encode()
        seconds = (busy_seconds() - began) / len(concepts)
        return [Learned(c.name, seconds, len(c.images) * dim * FLOAT_BYTES, 0) for c in concepts]
