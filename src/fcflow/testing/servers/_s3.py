"""An object store that speaks S3: moto, in a thread of this process."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fcflow.testing.servers._machine import HOST, RunningServer

__all__ = ["moto_s3"]


@contextlib.contextmanager
def moto_s3() -> Iterator[RunningServer]:
    """With an empty bucket ``leeds``; user and password are the access key and its secret."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        running = RunningServer(
            scheme="s3",
            port=port,
            user="AKIA" + secrets.token_hex(8).upper(),
            password=f"pass-{secrets.token_hex(16)}",
            root=Path(),
            base="leeds/",
        )
        bucket_client(running).create_bucket(Bucket="leeds")
        yield running
    finally:
        server.stop()


def bucket_client(server: RunningServer) -> Any:
    """What the partner works with on their side."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://{HOST}:{server.port}",
        aws_access_key_id=server.user,
        aws_secret_access_key=server.password,
        region_name="us-east-1",
    )
