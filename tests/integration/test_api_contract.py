"""The interface against its own description: schemathesis sends what the document allows and what it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate


def test_document_is_valid_and_served(server: Any) -> None:
    r = server.call("GET", "/v1/openapi.yaml")
    assert r.headers["content-type"] == "application/yaml"
    document = yaml.safe_load(r.text)
    validate(document)
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            url = re.sub(r"\{\w+\}", "x", path)
            assert server.call(method.upper(), url, data=b"{").status_code != 405, (method, path)
    server.call("DELETE", "/v1/sandboxes/x")


# Of the others, notebook clients send more than their interface says (test_jupyter_rest.py has its refusals), and
# streams have no end.
TAGS = ("sandboxes", "contexts", "run", "notebooks", "programs", "files", "ports", "buckets", "egress", "server")

# What is good depends on more than a schema can say: the path, pattern or archive; how the hosts, ports and rules of a
# policy go together; whether there is such a repository.
OF_THE_WORLD = "include-operation-id = ['gitCheckout', 'mountBucket']"  # 502: a server is not there
ONLY_BAD = (
    "include-tag = 'files'",
    "include-tag = 'egress'",
    "include-tag = 'buckets'",
    "include-operation-id = ['putSandbox', 'patchSandbox', 'gitCheckout', 'exec']",
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("tag", TAGS)
def test_schemathesis(server: Any, tmp_path: Path, tag: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(
        "".join(f"[[operations]]\n{which}\nchecks.positive_data_acceptance.enabled = false\n" for which in ONLY_BAD)
        + f"[[operations]]\n{OF_THE_WORLD}\nchecks.not_a_server_error.enabled = false\n"
    )
    document = tmp_path / "openapi.yaml"
    document.write_text(server.call("GET", "/v1/openapi.yaml").text)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            document,
            "--url",
            server.url,
            "--header",
            f"Authorization: Bearer {server.token}",
            "--max-examples",
            "25",
            "--seed",
            "1",
            "--request-timeout",
            "30",
            "--phases",
            "examples,coverage,fuzzing",
            "--include-tag",
            tag,
            "--exclude-tag",
            "streaming",
            "--exclude-operation-id",  # a stream without end, and only for who accepts one: test_watch.py
            "watch",
            "--exclude-checks",
            "unsupported_method",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    for sandbox in server.call("GET", "/v1/sandboxes").json()["sandboxes"]:
        server.call("DELETE", f"/v1/sandboxes/{sandbox['name']}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_operation_has_a_tag_that_is_known(server: Any) -> None:
    document = yaml.safe_load(server.call("GET", "/v1/openapi.yaml").text)
    tags = {t for item in document["paths"].values() for m, o in item.items() if m != "parameters" for t in o["tags"]}
    assert tags == {t["name"] for t in document["tags"]}
    assert tags - set(TAGS) == {"jupyter", "streaming"}
