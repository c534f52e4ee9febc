"""A local S3 server and a bucket of its own for each test, over real HTTP on this machine. Not itself a test."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    name: str
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to keep its media here."""
        return {**KEYS, "SEGAPP_MEDIA": f"s3://{self.name}/media", "SEGAPP_S3_ENDPOINT": self.endpoint}

    def storage(self, **options) -> dict:
        """The same as a Django setting."""
        place = {"bucket_name": self.name, "location": "media", "endpoint_url": self.endpoint, **options}
        named = {"access_key": "testing", "secret_key": "testing", "region_name": "us-east-1", "file_overwrite": True}
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**named, "addressing_style": "path", **place}}

    def names(self) -> list[str]:
        """What is in it, without the folder's own name."""
        found = self._client().list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(entry["Key"].removeprefix("media/") for entry in found)

    def read(self, name: str) -> bytes:
        return self._client().get_object(Bucket=self.name, Key=f"media/{name}")["Body"].read()

    def write(self, name: str, content: bytes) -> None:
        self._client().put_object(Bucket=self.name, Key=f"media/{name}", Body=content)

    def delete(self, name: str) -> None:
        self._client().delete_object(Bucket=self.name, Key=f"media/{name}")

    def make(self) -> "Bucket":
        self._client().create_bucket(Bucket=self.name)
        return self

    def _client(self):
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def new_bucket(endpoint: str) -> Bucket:
    return Bucket(f"segapp-{secrets.token_hex(6)}", endpoint).make()
