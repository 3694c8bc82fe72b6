"""Compares RabiBridge with other libraries: ``make compare``, or ``python -m benchmarks.compare``.

`stage` starts RabbitMQ and NATS, `rounds` measures calls, `payloads` large calls, `footprint` idle processes. `targets`
compares the figures with the targets, `page` and `pictures` render them, `report` holds everything and saves it as
JSON.
"""
