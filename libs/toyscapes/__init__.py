"""The embedded data set: drawn streets, written to disk exactly as Cityscapes, Synscapes and UrbanSyn are.

``write_cityscapes`` writes the "real" domain, ``write_synscapes`` and ``write_urbansyn`` the "synthetic" one, so that
every reader and every notebook works on drawn data as on the data sets themselves. :func:`draw_scene` gives one scene
in memory.

How a scene comes about: ``layout`` draws up a plan of a ``street`` in metres; ``canvas`` and ``stage`` paint it, with
the ``solid`` ``models`` seen by ``camera``, into an image and a map of layers; ``look`` holds the colours of both
domains and what the real one's sensor adds; ``scene`` turns the layers into labels; ``writers`` knows the formats.
"""

from toyscapes.scene import DOMAINS, Instance, Scene, draw_scene
from toyscapes.writers import write_cityscapes, write_synscapes, write_urbansyn

__all__ = ["DOMAINS", "Instance", "Scene", "draw_scene", "write_cityscapes", "write_synscapes", "write_urbansyn"]
