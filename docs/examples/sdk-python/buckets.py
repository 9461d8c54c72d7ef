"""Buckets: what a mount is made of, and what is said when it cannot be. The keys never are in the sandbox."""

import cellbox

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "kept-outside"}

with cellbox.get_sandbox("sdk-python-buckets") as sandbox:
    try:  # yours is at https://s3.REGION.amazonaws.com, an R2, GCS or MinIO address; nobody listens at this one
        sandbox.mount_bucket("reports", "/data", endpoint="https://store.invalid", credentials=KEYS, read_only=True)
    except cellbox.BucketError as error:
        assert error.code == "BUCKET_MOUNT_FAILED", error
    else:
        raise AssertionError("there is no such store")
    assert sandbox.list_buckets() == []
    assert "kept-outside" not in sandbox.exec("env; mount; ps aux").stdout
    try:
        sandbox.unmount_bucket("/data")
    except cellbox.BucketError as error:
        assert error.code == "BUCKET_NOT_FOUND"
    else:
        raise AssertionError("nothing is mounted")
    sandbox.destroy()
print("ok")
