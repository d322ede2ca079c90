"""The polygons of every toy, in toy units: x right, y down, body and head between -1 and 1.

A template is built once per (kind, pattern, accessory) and cached. Its polygons have roles, to
which an identity gives colours: ``main`` ``main_dark`` ``main_light`` ``second`` ``extra``
``extra_dark`` (the accessory), and the fixed ``ink`` ``eye`` ``beak`` ``blush``.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

BODY = (0.0, 0.44, 0.50, 0.46)  # centre x, centre y, radius x, radius y
HEAD = (0.0, -0.30, 0.46, 0.40)


@dataclass(frozen=True)
class Template:
    """Polygons of one toy. ``points`` is (N, 2); polygon i is ``points[start[i]:start[i + 1]]``.

    ``outlined[i]``: whether styles with outlines draw one around polygon i.
    """

    points: np.ndarray
    start: tuple[int, ...]
    roles: tuple[str, ...]
    outlined: tuple[bool, ...]


def ellipse(cx, cy, rx, ry, n=20, turn=0.0):
    """(n, 2) points of an ellipse turned by ``turn`` radians."""
    t = np.linspace(0, 2 * math.pi, n, endpoint=False)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = math.cos(turn), math.sin(turn)
    return np.stack([cx + c * x - s * y, cy + s * x + c * y], 1)


def polygon(*xy):
    """(n, 2) points from ``x, y, x, y, ...``."""
    return np.array(xy, float).reshape(-1, 2)


def mirrored(points):
    """The same shape on the other side of the toy."""
    return points * np.array([-1.0, 1.0])


def pair(role, points, outlined=True):
    """A shape and its mirror image."""
    return [(role, points, outlined), (role, mirrored(points), outlined)]


def one(role, points, outlined=True):
    """A single shape, as a list that can be added to others."""
    return [(role, points, outlined)]


@cache
def template(kind: str, pattern: str, accessory: str) -> Template:
    """All polygons of a toy, back to front."""
    parts = [
        *_behind(kind, accessory),
        *_feet(kind, accessory),
        *one("main", _body(kind)),
        *_pattern(pattern),
        *_arms(kind),
        *_ears(kind),
        *one("main", _head(kind)),
        *one("main_light", ellipse(-0.12, -0.46, 0.20, 0.12, 14), False),
        *_face(kind),
        *_accessory(accessory, kind),
    ]
    start = np.cumsum([0, *(len(points) for _, points, _ in parts)])
    return Template(
        np.concatenate([points for _, points, _ in parts]),
        tuple(int(s) for s in start),
        tuple(role for role, _, _ in parts),
        tuple(outlined for _, _, outlined in parts),
    )


def _body(kind):
    cx, cy, rx, ry = BODY
    if kind == "robot":
        return polygon(-rx, 0.02, rx, 0.02, rx, 0.88, -rx, 0.88)
    return ellipse(cx, cy, rx, ry, 24)


def _head(kind):
    cx, cy, rx, ry = HEAD
    if kind == "robot":
        return polygon(-rx, -0.66, rx, -0.66, rx, 0.04, -rx, 0.04)
    if kind == "frog":
        return ellipse(cx, cy + 0.04, rx + 0.08, ry - 0.06, 24)
    return ellipse(cx, cy, rx, ry, 24)


def _pattern(pattern):
    """What is on the belly, within 0.38 x 0.36 of its centre, which every body covers."""
    cx, cy = 0.0, 0.47
    if pattern == "striped":
        parts = []
        for y in (-0.26, -0.02, 0.22):
            w = 0.42 * math.sqrt(1 - (abs(y) / 0.44) ** 2)
            parts += one(
                "second",
                polygon(
                    -w, cy + y - 0.065, w, cy + y - 0.065, w, cy + y + 0.065, -w, cy + y + 0.065
                ),
                False,
            )
        return parts
    if pattern == "spotted":
        centres = [
            (-0.24, -0.14),
            (0.0, -0.25),
            (0.24, -0.14),
            (-0.25, 0.15),
            (0.0, 0.03),
            (0.25, 0.15),
            (0.0, 0.29),
        ]
        return [("second", ellipse(cx + x, cy + y, 0.095, 0.095, 10), False) for x, y in centres]
    if pattern == "checked":
        h = 0.135
        return [
            (
                "second",
                polygon(
                    cx + x - h,
                    cy + y - h,
                    cx + x + h,
                    cy + y - h,
                    cx + x + h,
                    cy + y + h,
                    cx + x - h,
                    cy + y + h,
                ),
                False,
            )
            for x, y in ((-0.135, -0.135), (0.135, 0.135))
        ]
    if pattern == "starred":
        t = np.arange(10) * math.pi / 5 - math.pi / 2
        r = np.where(np.arange(10) % 2 == 0, 0.36, 0.15)
        return one("second", np.stack([cx + r * np.cos(t), cy + 0.02 + r * np.sin(t)], 1), False)
    return one("second", ellipse(cx, cy, 0.31, 0.32, 20), False)


def _behind(kind, accessory):
    parts = []
    if kind == "cat":
        parts += one(
            "main_dark", polygon(0.3, 0.75, 0.78, 0.62, 0.86, 0.18, 0.72, 0.16, 0.66, 0.5, 0.3, 0.6)
        )
    if kind == "dragon":
        parts += pair(
            "main_dark",
            polygon(
                0.3, 0.25, 0.98, -0.28, 0.94, 0.12, 0.78, 0.16, 0.76, 0.42, 0.56, 0.42, 0.4, 0.55
            ),
        )
    if kind == "rabbit":
        parts += one("main_light", ellipse(0.48, 0.72, 0.15, 0.15, 12))
    if accessory == "balloon":
        parts += one("ink", polygon(0.60, 0.36, 0.88, -0.25, 0.92, -0.25, 0.64, 0.38), False)
    return parts


def _feet(kind, accessory):
    if accessory == "boots":
        boot = polygon(0.08, 0.72, 0.42, 0.72, 0.42, 0.86, 0.58, 0.92, 0.58, 1.06, 0.08, 1.06)
        sole = polygon(0.06, 1.02, 0.60, 1.02, 0.60, 1.10, 0.06, 1.10)
        return pair("extra", boot) + pair("extra_dark", sole, False)
    if kind == "duck":
        return pair("beak", ellipse(0.27, 0.93, 0.24, 0.10, 14))
    if kind == "robot":
        return pair("main_dark", polygon(0.1, 0.84, 0.42, 0.84, 0.46, 1.02, 0.1, 1.02))
    return pair("main_dark", ellipse(0.28, 0.90, 0.22, 0.13, 14))


def _arms(kind):
    if kind == "robot":
        return pair("main_dark", polygon(0.5, 0.16, 0.72, 0.2, 0.72, 0.56, 0.54, 0.52))
    if kind in ("duck", "owl"):
        return pair("main_dark", ellipse(0.50, 0.42, 0.15, 0.32, 16, -0.25))
    return pair("main_dark", ellipse(0.53, 0.32, 0.13, 0.25, 16, -0.6))


def _ears(kind):
    return {
        "bear": lambda: (
            pair("main", ellipse(0.37, -0.62, 0.18, 0.18, 14))
            + pair("blush", ellipse(0.37, -0.62, 0.09, 0.09, 10), False)
        ),
        "rabbit": lambda: (
            pair("main", ellipse(0.24, -0.92, 0.13, 0.38, 16, 0.15))
            + pair("blush", ellipse(0.24, -0.92, 0.06, 0.27, 12, 0.15), False)
        ),
        "cat": lambda: (
            pair("main", polygon(0.10, -0.62, 0.45, -0.98, 0.47, -0.36))
            + pair("blush", polygon(0.22, -0.66, 0.39, -0.83, 0.40, -0.52), False)
        ),
        "dog": lambda: pair("main_dark", ellipse(0.50, -0.30, 0.14, 0.36, 16, -0.2)),
        "duck": lambda: one(
            "main", polygon(-0.08, -0.62, -0.02, -0.88, 0.04, -0.70, 0.14, -0.86, 0.12, -0.62)
        ),
        "owl": lambda: pair("main_dark", polygon(0.12, -0.62, 0.46, -0.86, 0.44, -0.42)),
        "robot": lambda: (
            one("ink", polygon(-0.03, -0.66, -0.03, -0.90, 0.03, -0.90, 0.03, -0.66), False)
            + one("main_light", ellipse(0, -0.94, 0.09, 0.09, 12))
            + pair("main_dark", polygon(0.46, -0.44, 0.58, -0.40, 0.58, -0.22, 0.46, -0.18))
        ),
        "frog": lambda: pair("main", ellipse(0.28, -0.62, 0.19, 0.19, 16)),
        "dragon": lambda: pair("eye", polygon(0.12, -0.60, 0.34, -1.0, 0.38, -0.52)),
        "elephant": lambda: pair("main_dark", ellipse(0.60, -0.30, 0.28, 0.36, 18)),
    }[kind]()


def _eyes(x, y, r, pupil=0.55):
    return pair("eye", ellipse(x, y, r, r, 14)) + pair(
        "ink", ellipse(x, y + 0.01, r * pupil, r * pupil, 10), False
    )


def _face(kind):
    mouth = one("ink", polygon(-0.12, -0.10, 0.0, -0.05, 0.12, -0.10, 0.0, -0.02), False)
    nose = one("ink", ellipse(0, -0.18, 0.07, 0.05, 10), False)
    if kind == "bear":
        return (
            _eyes(0.18, -0.38, 0.085)
            + one("main_light", ellipse(0, -0.13, 0.20, 0.15, 16))
            + nose
            + mouth
        )
    if kind == "rabbit":
        teeth = polygon(-0.06, -0.09, 0.06, -0.09, 0.06, 0.03, -0.06, 0.03)
        return (
            _eyes(0.18, -0.36, 0.085)
            + one("blush", ellipse(0, -0.17, 0.07, 0.05, 10), False)
            + one("eye", teeth)
        )
    if kind == "cat":
        whisker = polygon(0.16, -0.14, 0.56, -0.22, 0.56, -0.18, 0.16, -0.10)
        lower = polygon(0.16, -0.09, 0.54, -0.04, 0.54, 0.0, 0.16, -0.05)
        return (
            _eyes(0.19, -0.36, 0.10, 0.5)
            + nose
            + mouth
            + pair("ink", whisker, False)
            + pair("ink", lower, False)
        )
    if kind == "dog":
        return (
            _eyes(0.17, -0.38, 0.085)
            + one("main_light", ellipse(0, -0.12, 0.22, 0.16, 16))
            + one("ink", ellipse(0, -0.20, 0.10, 0.07, 12), False)
            + one("blush", polygon(-0.06, -0.06, 0.06, -0.06, 0.05, 0.10, -0.05, 0.10))
        )
    if kind == "duck":
        return (
            _eyes(0.18, -0.40, 0.085)
            + one("beak", ellipse(0, -0.17, 0.30, 0.11, 18))
            + one("ink", polygon(-0.26, -0.18, 0.26, -0.18, 0.26, -0.155, -0.26, -0.155), False)
        )
    if kind == "owl":
        return _eyes(0.20, -0.34, 0.19, 0.42) + one(
            "beak", polygon(-0.08, -0.24, 0.08, -0.24, 0.0, -0.04)
        )
    if kind == "robot":
        grid = polygon(-0.24, -0.16, 0.24, -0.16, 0.24, -0.06, -0.24, -0.06)
        bars = [
            ("ink", polygon(x, -0.16, x + 0.03, -0.16, x + 0.03, -0.06, x, -0.06), False)
            for x in (-0.12, 0.0, 0.12)
        ]
        eye = polygon(0.09, -0.50, 0.31, -0.50, 0.31, -0.30, 0.09, -0.30)
        return (
            pair("eye", eye)
            + pair("ink", ellipse(0.2, -0.4, 0.05, 0.05, 8), False)
            + one("eye", grid)
            + bars
        )
    if kind == "frog":
        smile = polygon(
            -0.34, -0.20, -0.16, -0.10, 0.16, -0.10, 0.34, -0.20, 0.16, -0.03, -0.16, -0.03
        )
        return _eyes(0.28, -0.64, 0.115) + one("ink", smile, False)
    if kind == "dragon":
        fangs = pair("eye", polygon(0.10, -0.08, 0.18, -0.08, 0.14, 0.04), False)
        snout = one("main_light", ellipse(0, -0.12, 0.24, 0.13, 16))
        return (
            _eyes(0.18, -0.36, 0.09, 0.45)
            + snout
            + pair("ink", ellipse(0.08, -0.16, 0.03, 0.03, 8), False)
            + fangs
        )
    trunk = polygon(
        -0.10, -0.28, 0.10, -0.28, 0.12, 0.0, 0.26, 0.12, 0.20, 0.24, 0.02, 0.16, -0.09, 0.0
    )
    return _eyes(0.20, -0.40, 0.08) + one("main_dark", trunk)


def _accessory(accessory, kind):
    if accessory == "top hat":
        return (
            one("extra", polygon(-0.26, -1.20, 0.26, -1.20, 0.23, -0.66, -0.23, -0.66))
            + one(
                "extra_dark",
                polygon(-0.245, -0.80, 0.245, -0.80, 0.235, -0.70, -0.235, -0.70),
                False,
            )
            + one("extra", polygon(-0.44, -0.70, 0.44, -0.70, 0.44, -0.59, -0.44, -0.59))
        )
    if accessory == "party hat":
        return (
            one("extra", polygon(0.0, -1.28, 0.28, -0.60, -0.28, -0.60))
            + one(
                "extra_dark", polygon(-0.28, -0.60, 0.28, -0.60, 0.24, -0.70, -0.24, -0.70), False
            )
            + one("eye", ellipse(0, -1.26, 0.10, 0.10, 12))
        )
    if accessory == "crown":
        return one(
            "extra",
            polygon(
                -0.36,
                -0.56,
                -0.40,
                -1.02,
                -0.19,
                -0.80,
                0.0,
                -1.08,
                0.19,
                -0.80,
                0.40,
                -1.02,
                0.36,
                -0.56,
            ),
        ) + one(
            "extra_dark", polygon(-0.365, -0.64, 0.365, -0.64, 0.36, -0.56, -0.36, -0.56), False
        )
    if accessory == "scarf":
        return one("extra", polygon(0.08, 0.08, 0.32, 0.04, 0.38, 0.56, 0.16, 0.58)) + one(
            "extra", ellipse(0, 0.07, 0.43, 0.115, 20)
        )
    if accessory == "bow tie":
        return pair("extra", polygon(0.0, 0.09, 0.36, -0.07, 0.36, 0.25)) + one(
            "extra_dark", ellipse(0, 0.09, 0.08, 0.08, 10), False
        )
    if accessory == "balloon":
        return one("extra", ellipse(0.90, -0.56, 0.29, 0.35, 20)) + one(
            "eye", ellipse(0.81, -0.68, 0.06, 0.09, 10, 0.4), False
        )
    if accessory == "glasses":
        y = -0.62 if kind == "frog" else -0.37
        x = 0.28 if kind == "frog" else 0.20
        ring = pair("extra", ellipse(x, y, 0.21, 0.20, 18))
        glass = pair("eye", ellipse(x, y, 0.13, 0.12, 14), False)
        pupil = pair("ink", ellipse(x, y + 0.01, 0.055, 0.055, 8), False)
        bridge = one(
            "extra",
            polygon(-0.07, y - 0.04, 0.07, y - 0.04, 0.07, y + 0.04, -0.07, y + 0.04),
            False,
        )
        return ring + glass + pupil + bridge
    return []  # boots are drawn with the feet
