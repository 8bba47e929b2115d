"""Streams of granules: arrays by the names of their fields, published, heard, transformed, kept.

What is imported from here needs numpy: ``pip install 'ioncore[streams]'``.
"""

from ion.process.granules.definition import Field, StreamDefinition
from ion.process.granules.granule import Granule
from ion.process.granules.publisher import StreamPublisher
from ion.process.granules.subscriber import StreamSubscriber
from ion.process.granules.transform import Transform

__all__ = [
    "Field",
    "Granule",
    "StreamDefinition",
    "StreamPublisher",
    "StreamSubscriber",
    "Transform",
]
