"""The weights that ship with the package, by short names that work from any folder.

=================================  =============================================================
``toybox_base``                    the tiny policy, a Qwen2.5-VL
``toybox_clip``                    the tiny CLIP, for :func:`data_gen.images.encoders.load_encoder`
``toybox_diffusion``               the tiny diffusion pipeline, FLUX's architecture
``toybox_attribute_classifier``    reads the six attributes of a drawn toy
=================================  =============================================================

Each folder holds safetensors, the recipe that made them, and a card (``README.md``).
"""

from pathlib import Path

HERE = Path(__file__).parent
# Before the short names they were called by their folders, and saved adapters still do so.
_FORMER = {
    "rl/toybox_base": "toybox_base",
    "data_gen/toybox_clip": "toybox_clip",
    "data_gen/toybox_diffusion": "toybox_diffusion",
    "data_gen/toybox_reader": "toybox_attribute_classifier",
}
NAMES = tuple(_FORMER.values())


def local_weights(path: str | Path) -> str:
    """Where the weights are that ``path`` names.

    Args:
        path: a directory, a hub id, one of :data:`NAMES`, or what one of them was called before.

    Returns:
        ``path`` itself where it exists; the packaged folder of a short name; else ``path``.
    """
    path = str(path)
    name = _FORMER.get(path.rstrip("/"), path)
    return str(HERE / name) if not Path(path).exists() and name in NAMES else path
