"""Side by side: ``make compare``, or ``python -m benchmarks.compare``.

`stage` starts RabbitMQ and NATS, `rounds` measures calls, `payloads` large ones, `footprint` processes that do nothing;
`targets` says what was reached, `page` and `pictures` show it, `report` holds it all and is kept as JSON.
"""
