/*
 * Envelope of the frame protocol that a context speaks on its private SEQPACKET socket (the whole
 * protocol: docs/protocol.md, message types and hostile-side assembler: contexts/proto). It lives
 * down here because init, too, writes packets on that socket: what it read from fd 1/2 and the
 * output ring, and the end of the process.
 *
 * One message = header, section table, sections. It is cut into packets (datagrams) of at most
 * PACKET_MAX bytes:
 *
 *   packet  := u8 flags, u8[3] zero, chunk of the message
 *   message := u16 type, u16 nsections, u32 arg, u64 req, u32 section_length[nsections], section
 * bytes...
 *
 * All integers little endian. A message from init is always one packet (FIRST|LAST|INIT), so that
 * it may come between the packets of a longer message of the runner.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    PACKET_MAX = 65536,
    PACKET_HEAD = 4,
    MESSAGE_HEAD = 16,
    MESSAGE_SECTIONS_MAX = 64,
    PACKET_FIRST = 1,
    PACKET_LAST = 2,
    PACKET_INIT = 4,
    /* Most bytes of stream text in one STREAM packet: head, message head, two lengths, the stream
       byte. */
    PACKET_STREAM_MAX = PACKET_MAX - 64,
};

enum {
    MESSAGE_STREAM = 32, /* section 0: one byte, 1 = stdout, 2 = stderr; section 1: any bytes; req 0
                            = running cell */
    MESSAGE_EXITED = 63, /* from init only; arg = wait status of the interpreter process */
};

/*
 * Writes a whole one-packet message into out (PACKET_MAX bytes of room). Returns its length, 0 if
 * it does not fit.
 */
size_t packet_build(uint8_t *out, uint8_t flags, uint16_t type, uint32_t arg, uint64_t req,
                    unsigned nsections, const void *const *sections, const uint32_t *lengths);

static inline void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint64_t get_le(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}
