/* LINK: cbx_outring */
/* PARSES: sandbox/init/outring.c:outring_read */
/* Consumer of the output ring against arbitrary shared memory: it must end, stay in bounds and make
 * progress. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/init/outring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outring_shared shared;
    static uint8_t out[1 << 16];
    struct outring ring = {.shared = &shared, .doorbell = -1};
    uint32_t words[2];

    if (size < sizeof words)
        return 0;
    memcpy(words, data, sizeof words);
    data += sizeof words;
    size -= sizeof words;
    memset(&shared, 0, sizeof shared);
    uint32_t tail = words[0] & ~7u;
    uint32_t off = tail % OUTRING_SIZE;
    for (size_t i = 0; i < size; i++)
        shared.data[(off + i) % OUTRING_SIZE] = data[i];
    atomic_store(&shared.head, tail + words[1] % (OUTRING_SIZE + 64));
    for (;;) {
        uint64_t req = 0;
        int stream = 0;
        uint32_t before = tail;
        ssize_t n = outring_read(&ring, &tail, &req, &stream, out, sizeof out);
        if (n <= 0)
            break;
        if ((size_t)n > sizeof out || tail == before || (stream != 1 && stream != 2))
            abort();
    }
    return 0;
}
