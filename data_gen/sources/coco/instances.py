"""Which boxes of several images show the same thing, as far as a file's ids tell.

An id counts within its video, and trackers begin anew in each: an instance is (video, id). Where
ids leave it open whether two boxes show one thing, they are neither a "yes" nor a "no" of each
other.
"""

import re
from collections import defaultdict
from typing import Any

from data_gen.images.boxes import Box
from data_gen.sources.coco.boxes import Annotations, key_of
from rewards.visual_localization import iou

KEYS = ("instanceid", "trackid", "trackingid")
"""Keys of such ids, less ``_``, spaces and case; ``instance_id`` counts before the others."""

SAME_BOX = 0.9
"""IoU from which two boxes of one image and id are one box written twice."""


def _id(value: Any) -> str | None:
    """An id as text, or ``None`` where it says that there is none."""
    key = key_of(value)
    return None if key is None or key.casefold() in ("none", "null", "nan") else key


def _twice_in_one_image(found: Annotations, members: list[int]) -> list[int]:
    """Members of a group of which an image shows two, at different places."""
    seen: dict[int, list[tuple[int, Box]]] = defaultdict(list)
    for i in members:
        seen[found.image[i]].append((i, found.box(i)))
    return [
        i
        for same in seen.values()
        for i, box in same
        if any(j != i and not iou(box, other) >= SAME_BOX for j, other in same)
    ]


class Instances:
    """The ids of a file, gathered while it is read; :meth:`settle` says what they mean."""

    def __init__(self) -> None:
        self.ids: dict[int, tuple[str, str]] = {}
        self.video_of_image: dict[int, str] = {}
        self.video_of_box: dict[int, str] = {}

    def see_image(self, place: int, item: dict) -> None:
        """Take down the video of an image."""
        video = _id(item.get("video_id"))
        if video is not None:
            self.video_of_image[place] = video

    def see_box(self, i: int, item: dict) -> None:
        """Take down the id of a box, which it has itself or among its attributes."""
        attributes = item.get("attributes")
        for held in (item, attributes if isinstance(attributes, dict) else {}):
            ids = {re.sub(r"[\W_]", "", key).casefold(): key for key in held}
            for key in KEYS:
                value = _id(held[ids[key]]) if key in ids else None
                if value is not None and not value.startswith("-"):
                    self.ids[i] = key, value
                    break
            if i in self.ids:
                break
        video = _id(item.get("video_id"))
        if video is not None:
            self.video_of_box[i] = video

    def settle(self, found: Annotations) -> None:
        """Say which boxes are one subject's (``instance``), which may be (``alike``), and flag
        those whose id contradicts itself."""
        groups: dict[tuple, list[int]] = defaultdict(list)
        for i, (key, value) in self.ids.items():
            groups[self._scope(found, i, key), found.category[i], key, value].append(i)
        doubtful = {i for members in groups.values() for i in _twice_in_one_image(found, members)}
        values = {value for _, value in self.ids.values()}
        if len(self.ids) == len(found) > 1 and len(values) == 1 and (doubtful or values == {"0"}):
            # One number for every box is what a writer puts where it has none.
            if self._videos(found):
                found.alike.update((i, f"video {self._video(found, i)}") for i in self.ids)
            return
        held = defaultdict(set)
        for group in groups:
            held[group[2:]].add(group)
        for group, members in groups.items():
            for i in members:
                found.instance[i] = repr(group)
                if len(held[group[2:]]) > 1:
                    found.alike[i] = f"{group[2]} {group[3]}"
                if i in doubtful and i not in found.flag:
                    found.flag[i] = "an instance twice in one image"

    def _scope(self, found: Annotations, i: int, key: str) -> str:
        """Within what an id counts: the video; for a tracker's, the folder where no video is
        named."""
        if self._videos(found) or key == "instanceid":
            return self._video(found, i)
        return (found.files[found.image[i]] or "").replace("\\", "/").rpartition("/")[0]

    def _videos(self, found: Annotations) -> bool:
        return bool(self.video_of_image or self.video_of_box)

    def _video(self, found: Annotations, i: int) -> str:
        return self.video_of_image.get(found.image[i], self.video_of_box.get(i, ""))
