"""A server does not start with options about egress that it cannot use."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import BUILD, TOKEN


def start(*options: str) -> tuple[int, str]:
    with tempfile.TemporaryDirectory(prefix="cellbox-test-") as state:
        command = [BUILD / "bin" / "kernel-gw", "--listen", "127.0.0.1:0", "--state-dir", state, "--token", TOKEN]
        r = subprocess.run(
            [*command, "--pool", "0", "--pool-node", "0", *options], capture_output=True, text=True, timeout=60
        )
    assert "listening on" not in r.stdout
    return r.returncode, r.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory"),
        ("", ":1:"),
        ("{bad", ":1:"),
        ("[]", "it must be an object"),
        ('{"enableInternet": true}\n{"enableInternet": false}', ":2:"),
        ('{\n  "enabelInternet": false\n}', "enabelInternet: there is no such member"),
        ('{"enableInternet": "no"}', "it must be true or false"),
        ('{"enableInternet": null}', "it must be true or false"),
        ('{"enableInternet": false, "enableInternet": true}', "duplicate"),
        ('{"limits": {"quota": {"bytes": -1}}}', "it must be a number from"),
        ('{"rules": [{"match": null, "action": "allow"}]}', "match: it is null"),
        ('{"rules": [{"match": {"hosts": []}, "action": "allow"}]}', "hosts: it is empty"),
        ('{"rules": [\n {"match": {"ports": [70000]}, "action": "deny"}\n]}', ":2:"),
        ('{"rules": [{"action": null}]}', "action: it is null"),
        ('{"rules": [{"respond": {"status": 403}}]}', 'respond needs "action": "respond"'),
        ('{"allowedHosts": ["a b"]}', "allowedHosts[0]"),
        (" " * (300 << 10), "it is larger than"),
        (" " * (2 << 20), "it is larger than 1 MiB"),
    ],
)
def test_policies_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "policy.json"
    if text is not None:
        file.write_text(text)
    status, errors = start("--egress-policy", str(file))
    assert status != 0
    assert said in errors and "policy.json" in errors and "read --egress-policy" in errors, errors


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--egress-policy", "", "is empty"),
        ("--egress-policy", "/tmp", "Is a directory"),
        ("--egress-policy", "/dev/zero", "larger than"),
        ("--egress-ca", "", "is empty"),
        ("--egress-ca", "/missing.pem", "/missing.pem: No such file"),
        ("--egress-ca", "/etc/passwd", "it holds no PEM certificate"),
        ("--egress-resolver", "", "is empty"),
        ("--egress-resolver", "banana", "banana"),
        ("--egress-resolver", "127.0.0.1:99999", "127.0.0.1:99999"),
        ("--egress-resolver", "127.0.0.1:53,", "127.0.0.1:53,"),
    ],
)
def test_options_that_cannot_be_used(option: str, value: str, said: str) -> None:
    status, errors = start(option, value)
    assert status != 0
    assert said in errors, errors


def test_a_broken_certificate_among_good_ones(tmp_path: Path) -> None:
    good = Path("/etc/ssl/certs/ca-certificates.crt").read_text().split("-----END CERTIFICATE-----")[0]
    end = "-----END CERTIFICATE-----\n"
    file = tmp_path / "ca.pem"
    file.write_text(good + end + "-----BEGIN CERTIFICATE-----\nQUJD\n" + end + good + end)
    status, errors = start("--egress-ca", str(file))
    assert status != 0
    assert "certificate 2 of the file cannot be used" in errors, errors
