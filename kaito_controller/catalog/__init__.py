"""Presets, GPU SKUs and runtimes as data, and the loader that reads them."""
