"""The dashboard: one page that shows services, workers, errors and dead letters while they change.

What belongs here: the web application, what it collects for its page, and the page itself. It asks through the public
client and through the dead-letter functions of the command; it knows no AMQP.
"""
