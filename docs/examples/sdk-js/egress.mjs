// Egress: what a sandbox may reach, a handler that answers for a host, a secret that it never sees, the log.
import assert from "node:assert/strict";
import { deleteHandler, deleteSecret, getSandbox, InvalidRequestError, listHandlers, listSecrets, putHandler, putSecret } from "cellbox";

const source = `export default {
  outbound: (request, env, ctx) => new Response(new URL(request.url).pathname + ' ' + ctx.params.greeting + ' ' + env.KEY.length),
};`;

// The handler may have the clear text, since the secret says so; else it would get a placeholder that fetch() fills in.
await putSecret("sdk-js", { value: "0123456789", hosts: ["*.example.com"], handlers: ["sdk-js"] });
await putHandler("sdk-js", source, { env: { KEY: "sdk-js" } });
assert((await listSecrets()).some((one) => one.name === "sdk-js"));
assert((await listHandlers()).some((one) => one.name === "sdk-js"));

const sandbox = getSandbox("sdk-js-egress", { egress: { enableInternet: false } });
const blocked = await sandbox.exec("curl -sS -o /dev/null -w '%{http_code}' https://api.example.com/");
assert.equal(blocked.stdout, "520");

await sandbox.setEgress({});
await sandbox.setOutboundByHost("api.example.com", "sdk-js", { greeting: "hello" });
assert.equal((await sandbox.exec("curl -sS https://api.example.com/path")).stdout, "/path hello 10");
await sandbox.setOutboundByHost("api.example.com", null);
await sandbox.setOutboundHandler("sdk-js", { greeting: "all" });
assert.equal((await sandbox.exec("curl -sS https://other.example.com/x")).stdout, "/x all 10");
await sandbox.setOutboundHandler(null);

await sandbox.setAllowedHosts(["pypi.org"]);
await sandbox.setDeniedHosts(["evil.example"]);
assert.deepEqual((await sandbox.getEgress()).allowedHosts, ["pypi.org"]);
await sandbox.updateEgress({ allowedHosts: null });

const log = await sandbox.egressLog();
const requests = log.entries.filter((one) => one.kind === "http");
assert.deepEqual(requests.map((one) => one.status), [520, 200, 200]);
for await (const record of sandbox.followEgress()) {
  if (record.decision === "handler") break;
}
assert((await sandbox.usage()).egressBytes >= 0);
await assert.rejects(sandbox.setEgress({ rules: [{ match: { ports: [0] } }] }), InvalidRequestError);
assert.deepEqual(await sandbox.resetEgress(), {});
await sandbox.destroy();
await deleteHandler("sdk-js");
await deleteSecret("sdk-js");
console.log("ok");
