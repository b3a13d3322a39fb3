"""Adopt: a model that was not trained here becomes a model folder, which every verb takes.

Files in reading order: `adopt` (the verb), `options`; the net is `models/nets/adopted`.

Laws: nothing is unpickled. A type that neither tilespec nor its user trusts is not loaded.
"""
