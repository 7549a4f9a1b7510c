"""Draws miniature street data sets, written to disk exactly as Cityscapes, Synscapes, UrbanSyn and others are.

For whoever tests or teaches code that reads these data sets, without a download, a licence or a GPU: a "real" domain in
Cityscapes' format, and a "synthetic" one in the format of Synscapes or UrbanSyn, with the same streets drawn in another
look; and further streets of the real domain as BDD100K and Mapillary Vistas have them. Every image is a function of
the seed, its domain and its number::

    from toyscapes import draw_scene, write_cityscapes, write_synscapes

    write_cityscapes("data/cityscapes", train=200, val=50, height=96, width=192, seed=0)
    write_synscapes("data/synscapes", train=200, val=50, height=96, width=192, seed=0)
    scene = draw_scene("real", 7, height=96, width=192)  # one in memory: scene.image, scene.instance_map, ...

How a scene is made: ``layout`` plans a ``street`` in metres; ``canvas`` and ``stage`` paint it, with the ``solid``
``models`` seen by ``camera``, into an image and a map of layers; ``look`` holds the colours of both domains and the
noise of the real one's sensor; ``scene`` turns the layers into labels; ``writers`` knows the formats.
"""

from toyscapes.scene import DOMAINS, Instance, Scene, draw_scene
from toyscapes.writers import write_cityscapes, write_streets, write_synscapes, write_urbansyn

__all__ = [
    "DOMAINS", "Instance", "Scene", "draw_scene", "write_cityscapes", "write_streets", "write_synscapes",
    "write_urbansyn",
]  # fmt: skip
