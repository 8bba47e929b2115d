"""Blobs: large contents by their hash, in chunks, over any datastore."""

from ion.stores.blobs.blob import BlobRef, Stat
from ion.stores.blobs.blobstore import BlobStore
from ion.stores.blobs.upload import Upload

__all__ = ["BlobRef", "BlobStore", "Stat", "Upload"]
