"""The client and server that users see, for any transport.

Arguments, settings and documentation of the API belong here; how calls are made and requests are processed belongs in
``_client`` and ``_server``, and what one broker adds belongs in its distribution.
"""
