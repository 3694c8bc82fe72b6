"""What an operator does to a broker: looks at queues and dead letters, moves and deletes them, and finds faults.

It needs no management plug-in: everything is done over AMQP, with the permissions of the user that is configured.
"""
