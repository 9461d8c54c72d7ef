/* LINK: cbx_journal cbx_proto */
/* PARSES: contexts/manager/journal/journal.c */
/*
 * A file of any bytes is opened as a journal, read, and written on: opening cuts off what is torn,
 * reading stays in the file and comes to its end, and what is appended is found again. What records
 * of packets hold goes to the decoder, as after a restart.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "contexts/manager/journal/journal.h"
#include "contexts/proto/proto.h"
#include "sandbox/base/fd.h"

enum { PACKET = 1, OTHER = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The folder that the fuzzer runs in: tests/run gives each its own. */
static int folder(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = open(".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    return fd;
}

static size_t read_all(struct journal *j)
{
    struct proto_decoder d;
    struct proto_message m;
    struct journal_reader r;
    struct journal_record rec;
    uint64_t last = 0;
    size_t n = 0;
    proto_decoder_init(&d, NULL);
    d.resync = true;
    journal_reader_init(&r, j, journal_floor(j));
    while (journal_read(&r, &rec) == 1) {
        if (rec.next <= rec.offset || rec.offset < last || rec.next > journal_end(j))
            __builtin_trap();
        last = rec.offset;
        n++;
        if (rec.kind == PACKET && proto_decoder_feed(&d, rec.data, rec.len, &m) == 1)
            proto_decoder_taken(&d);
    }
    journal_reader_deinit(&r);
    proto_decoder_deinit(&d);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal *j = NULL;
    struct journal_record rec;
    struct err e = {0};
    struct iovec iov = {(void *)"word", 4};
    int dir = folder();
    CLEANUP_FD int fd = openat(dir, "fuzzed-journal", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write_all(fd, data, size) < 0)
        abort();
    if (journal_open(dir, "fuzzed-journal", PACKET, &j, &e) < 0)
        return 0;
    size_t before = read_all(j);
    if (journal_append(j, OTHER, &iov, 1, &rec) == 0 && rec.next > rec.offset &&
        read_all(j) != before + 1)
        __builtin_trap();
    journal_close(j);
    if (journal_open(dir, "fuzzed-journal", PACKET, &j, &e) < 0)
        __builtin_trap();
    journal_close(j);
    return 0;
}
