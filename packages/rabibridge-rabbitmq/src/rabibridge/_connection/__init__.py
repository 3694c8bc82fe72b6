"""One supervised connection: connecting and reconnecting, channels, topology, and the translation of errors.

It moves frames on behalf of its channels; the meaning of requests and replies belongs in ``_transport``.
"""
