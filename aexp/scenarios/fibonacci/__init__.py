"""``fibonacci``: fifty queued workflows that burn a processor, and an event loop that stays
free.
"""
