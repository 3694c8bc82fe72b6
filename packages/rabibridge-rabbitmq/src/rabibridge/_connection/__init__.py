"""One supervised connection: connecting, reconnecting, channels, topology, and the translation of errors.

It moves frames for whoever opened a channel; what a request or a reply is belongs in ``_transport``.
"""
