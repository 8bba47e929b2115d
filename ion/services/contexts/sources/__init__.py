"""Where assimilated contents come from: files, HDF5, text, URLs."""
