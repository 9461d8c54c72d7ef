"""Server-sent events of an execution, as dictionaries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests


def events(response: requests.Response) -> Iterator[dict[str, Any]]:
    """The data of each event; "id" is set to the event's id if it has one."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    fields: dict[str, str] = {}
    for line in lines(response):
        if not line and "data" in fields:
            event = json.loads(fields["data"])
            assert event["type"] == fields["event"]
            event["event_id"] = int(fields["id"]) if "id" in fields else None
            yield event
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def lines(response: requests.Response) -> Iterator[str]:
    """Lines as they arrive; requests' own iter_lines is quadratic in the length of a line."""
    pending: list[bytes] = []
    for chunk in response.iter_content(chunk_size=None):
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            yield b"".join([*pending, piece]).decode()
            pending = []
        pending.append(rest)


def kinds(stream: Iterator[dict[str, Any]]) -> list[str]:
    """Types of events; text that came in several pieces counts once."""
    out: list[str] = []
    for event in stream:
        if not (out and out[-1] == event["type"] and event["type"] in ("stdout", "stderr")):
            out.append(event["type"])
    return out


def run_events(server: Any, sandbox: str, code: str, **body: Any) -> Iterator[dict[str, Any]]:
    response = server.call(
        "POST",
        f"/v1/sandboxes/{sandbox}/run",
        json={"code": code, **body},
        headers={"Accept": "text/event-stream"},
        stream=True,
    )
    return events(response)
