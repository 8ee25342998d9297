"""An object store for tests: moto's server, which answers as S3 does, in a thread of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from urllib.request import Request, urlopen

from confsec.backends.log_objects import ObjectStorage

_buckets = count()


@contextmanager
def running_object_store() -> Iterator[str]:
    """Run the server with a bucket that is empty; yield its URL. All servers of a process share their buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}/logs-{}".format(*server.get_host_and_port(), next(_buckets))
        with urlopen(Request(url, method="PUT")):
            pass
        yield url
    finally:
        server.stop()


def s3_storage(url: str, prefix: str) -> ObjectStorage:
    """Return what is below a prefix in the bucket, as one writer sees it."""
    endpoint, _, bucket = url.rpartition("/")
    return ObjectStorage(
        f"s3://{bucket}/{prefix}",
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="nobody",
        secret_access_key="nothing",
        client_options={"allow_http": True, "timeout": "15s"},
    )
