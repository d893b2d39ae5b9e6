"""``objects``: catalogue an object store page by page, each page a workflow on a limited queue."""
