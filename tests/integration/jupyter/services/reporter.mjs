// One JSON line a test, for test_services.py.

export default async function* report(events) {
    for await (const { type, data } of events) {
        if ((type === "test:pass" || type === "test:fail") && data.nesting === 0) {
            const cause = data.details?.error?.cause ?? data.details?.error;
            const error = type === "test:fail" ? String(cause?.stack ?? cause) : null;
            yield JSON.stringify({ name: data.name, error }) + "\n";
        }
    }
}
