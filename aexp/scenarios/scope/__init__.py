"""``scope`` and ``scope-functions``: count in five places, and see which counts survive a kill."""
