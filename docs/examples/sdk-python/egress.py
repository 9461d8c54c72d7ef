"""Egress: what a sandbox may reach, a handler that answers for a host, a secret that it never sees, the log."""

import cellbox

SOURCE = """
export default {
  outbound: (request, env, ctx) => new Response(`${new URL(request.url).pathname} ${ctx.params.greeting} ${env.KEY.length}`),
};
"""

# The handler may have the clear text, since the secret says so; else it would get a placeholder that fetch() fills in.
cellbox.put_secret("sdk-py", {"value": "0123456789", "hosts": ["*.example.com"], "handlers": ["sdk-py"]})
cellbox.put_handler("sdk-py", SOURCE, {"KEY": "sdk-py"})
assert "sdk-py" in [one["name"] for one in cellbox.list_secrets()]
assert "sdk-py" in [one["name"] for one in cellbox.list_handlers()]

with cellbox.get_sandbox("sdk-py-egress") as sandbox:
    sandbox.set_egress({"enableInternet": False})
    blocked = sandbox.exec("curl -sS -o /dev/null -w '%{http_code}' https://api.example.com/")
    assert blocked.stdout == "520"

    sandbox.set_egress({})
    sandbox.set_outbound_by_host("api.example.com", "sdk-py", {"greeting": "hello"})
    assert sandbox.exec("curl -sS https://api.example.com/path").stdout == "/path hello 10"
    sandbox.set_outbound_by_host("api.example.com", None)
    sandbox.set_outbound_handler("sdk-py", {"greeting": "all"})
    assert sandbox.exec("curl -sS https://other.example.com/x").stdout == "/x all 10"
    sandbox.set_outbound_handler(None)

    sandbox.set_allowed_hosts(["pypi.org"])
    sandbox.set_denied_hosts(["evil.example"])
    assert sandbox.get_egress()["allowedHosts"] == ["pypi.org"]
    sandbox.update_egress({"allowedHosts": None})

    log = sandbox.egress_log()
    requests = [one for one in log.entries if one["kind"] == "http"]
    assert [(one["decision"], one["status"]) for one in requests] == [("deny", 520), ("handler", 200), ("handler", 200)]
    assert sandbox.egress_log(log.cursor).entries == []
    assert sandbox.usage().egress_bytes >= 0
    try:
        sandbox.set_egress({"rules": [{"match": {"ports": [0]}}]})
    except cellbox.InvalidRequestError as e:
        print(e)
    assert sandbox.reset_egress() == {}
    sandbox.destroy()
cellbox.delete_handler("sdk-py")
cellbox.delete_secret("sdk-py")
print("ok")
