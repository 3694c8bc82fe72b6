"""TLS as all transports set it up: the same settings, the same rules, and the same errors.

It knows no protocol of a broker. What is particular to one, such as the number of its port for TLS, is a
:class:`~rabibridge_core._tls.refusals.TLSAdvice` of the transport.
"""
