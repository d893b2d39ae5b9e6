"""Workflows that call a service whose address stands in SHOP_URL when this is imported."""

from __future__ import annotations

import json
import os
import time
import urllib.request
import uuid

import httpx
from dbos import DBOS

SHOP = os.environ["SHOP_URL"]


@DBOS.step()
def charge(order: str) -> str:
    body = json.dumps({"order": order}).encode()
    asked = urllib.request.Request(f"{SHOP}/charges", body, method="POST")
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["id"])


@DBOS.workflow()
def wrong_charge(order: str = "A17") -> str:
    return charge(order)


@DBOS.step()
async def charge_by_new_key(order: str) -> str:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    async with httpx.AsyncClient(base_url=SHOP, headers=headers) as client:
        return str((await client.post("/charges", json={"order": order})).json()["id"])


@DBOS.workflow()
async def wrong_key_of_request(order: str = "A17") -> str:
    async with httpx.AsyncClient(base_url=SHOP) as client:
        await client.put(f"/orders/{order}", json={"by": "the body"})
    return await charge_by_new_key(order)


@DBOS.step()
async def charge_once(order: str) -> str:
    """Charge by a key that the workflow's id makes, wait by asking, and note the time."""
    headers = {"Idempotency-Key": f"charge-{DBOS.workflow_id}"}
    async with httpx.AsyncClient(base_url=SHOP, headers=headers) as client:
        body = {"order": order, "at": time.time()}
        charged = (await client.post("/charges", json=body)).json()["id"]
        while (await client.get(f"/charges/{charged}")).json()["state"] != "done":
            pass
        await client.put(f"/orders/{order}", json={"charge": charged})
    return str(charged)


@DBOS.workflow()
async def right_charge(order: str = "A17") -> str:
    return await charge_once(order)
