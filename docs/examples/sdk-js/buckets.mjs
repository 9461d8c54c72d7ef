// Buckets: what a mount is made of, and what is said when it cannot be. `cellbox` never gives the keys to the sandbox.
import assert from "node:assert/strict";
import { BucketError, InvalidRequestError, getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-buckets");
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "kept-outside" };

// yours is at https://s3.REGION.amazonaws.com, an R2, GCS or MinIO address; nobody listens at this one
const error = await sandbox
  .mountBucket("reports", "/data", { endpoint: "https://store.invalid", region: "eu-west-1", credentials, readOnly: true, prefix: "/2026" })
  .catch((e) => e);
assert.ok(error instanceof BucketError && error.code === "BUCKET_MOUNT_FAILED", String(error));
assert.deepEqual(await sandbox.listBuckets(), []);
assert.ok(!(await sandbox.exec("env; mount; ps aux")).stdout.includes("kept-outside"));

const wrong = await sandbox.mountBucket("reports", "relative", { endpoint: "https://store.invalid", credentials }).catch((e) => e);
assert.ok(wrong instanceof InvalidRequestError && wrong.details.field === "path");

const missing = await sandbox.unmountBucket("/data").catch((e) => e);
assert.equal(missing.code, "BUCKET_NOT_FOUND");

await sandbox.destroy();
console.log("ok");
