"""The shop's tables, in the database that DBOS uses."""

import os

import psycopg
from dbos import DBOSClient

SHIPPING = "shipping"

TABLES = """
CREATE TABLE IF NOT EXISTS stock (item text PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0));
CREATE TABLE IF NOT EXISTS reservations (order_id text PRIMARY KEY, item text, pieces int);
CREATE TABLE IF NOT EXISTS deliveries (
    workflow_id text, item text, pieces int, PRIMARY KEY (workflow_id, item)
);
CREATE TABLE IF NOT EXISTS orders (order_id text PRIMARY KEY, charge text, state text);
CREATE TABLE IF NOT EXISTS parcels (order_id text PRIMARY KEY, label text);
"""


def database_url() -> str:
    """Return the URL of the database, which the environment names."""
    return os.environ["DBOS_SYSTEM_DATABASE_URL"]


async def connect() -> psycopg.AsyncConnection:
    """Connect for one transaction: used by `async with await`, it is committed at the end."""
    return await psycopg.AsyncConnection.connect(database_url())


def deploy(url: str) -> None:
    """Make the tables and the queue, where they are not there yet."""
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)
    client = DBOSClient(system_database_url=url)
    try:
        client.register_queue(SHIPPING, worker_concurrency=2, polling_interval_sec=0.1)
    finally:
        client.destroy()
