"""What HTTP gateways share: errors as statuses, requests that end when the browser goes away, streams as events.

Nothing here imports a web framework; :mod:`rabibridge.contrib` adapts it to each. What calls services without HTTP does
not belong here.
"""
