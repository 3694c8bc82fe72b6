"""RabiBridge over Redis and Valkey: for URLs that begin with redis:// or rediss://.

Nothing needs to be imported from here: with the distribution installed, ``RpcClient(url="redis://...")`` and
``RMQClient(url="redis://...")`` find it.
"""

__all__: list[str] = []
