"""RabiBridge over Redis, beside other libraries over Redis and beside RabbitMQ: ``make compare-redis``."""
