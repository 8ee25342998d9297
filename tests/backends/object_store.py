"""An object store for tests: moto's server, which answers as S3 does, in a thread of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from confsec.backends.log_objects import ObjectStorage

BUCKET = "logs"


@contextmanager
def running_object_store() -> Iterator[str]:
    """Run the server with an empty bucket; yield its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        with urlopen(Request(f"{url}/{BUCKET}", method="PUT")):
            pass
        yield url
    finally:
        server.stop()


def s3_storage(url: str, prefix: str) -> ObjectStorage:
    """Return what is below a prefix in the bucket, as one writer sees it."""
    return ObjectStorage(
        f"s3://{BUCKET}/{prefix}",
        endpoint=url,
        region="us-east-1",
        access_key_id="nobody",
        secret_access_key="nothing",
        client_options={"allow_http": True, "timeout": "15s"},
    )
