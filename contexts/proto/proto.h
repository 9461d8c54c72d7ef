/*
 * Frame protocol, gateway side: packets of a hostile peer in, checked messages out; messages in,
 * packets out. No I/O, no clock. The envelope is described in sandbox/wire/packet.h, the types in
 * contexts/proto/frame.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexts/proto/frame.h"
#include "sandbox/base/buf.h"
#include "sandbox/base/json.h"

enum { PROTO_MESSAGE_MAX = 64 << 20, PROTO_HELLO_MAX = 64 << 10, PROTO_STDIN_MAX = 1 << 20 };

struct proto_section {
    const uint8_t *data;
    size_t len;
};

struct proto_message {
    uint16_t type;  /* enum frame_type, MESSAGE_STREAM or MESSAGE_EXITED: always a known one */
    bool from_init; /* claimed, not proven: the runner shares init's end of the socket */
    uint32_t arg;
    uint64_t req;
    unsigned nsections;
    struct proto_section sections[MESSAGE_SECTIONS_MAX];
};

/* Bytes that half-received messages of many decoders may hold together. */
struct proto_quota {
    size_t used, max;
};

struct proto_decoder {
    struct buf partial; /* runner message whose last packet has not come */
    size_t total;       /* its whole length, 0 while the section table is incomplete */
    size_t charged;     /* to the quota */
    bool open;          /* a first packet came, the last did not */
    bool clear;         /* partial was handed out; forget it at the next packet */
    bool resync;        /* begins in the middle of a recording: packets before the first beginning
                           are skipped */
    bool greeted;       /* HELLO came */
    const char *error;  /* final: every later packet fails, too */
    struct proto_quota *quota;
    struct { /* how far partial is checked */
        size_t at, end;
        unsigned section;
        struct json_checker json;
    } seen;
};

void proto_decoder_init(struct proto_decoder *d,
                        struct proto_quota *quota); /* quota may be NULL; it must outlive d */
void proto_decoder_deinit(struct proto_decoder *d);
/*
 * One packet. 1: a message is complete, *ret filled; its sections point into the packet or the
 * decoder and are valid until the next call. 0: more packets needed. -EPROTO: the peer broke the
 * protocol (proto_decoder_error says how, in a few words without its data); -ENOMEM. Errors are
 * final. A long message is checked piece by piece, as it comes.
 */
int proto_decoder_feed(struct proto_decoder *d, const uint8_t *packet, size_t len,
                       struct proto_message *ret);
/* The peer has gone: an unfinished message is dropped with what it holds. */
void proto_decoder_drop(struct proto_decoder *d);
/* The message that feed gave was looked at: what it held is free again. */
void proto_decoder_taken(struct proto_decoder *d);
/*
 * Charges the rest of an unfinished message to the quota; true: there was room, or nothing to
 * charge. False: feed no more before it is true. What is held without it is one packet.
 */
bool proto_decoder_admit(struct proto_decoder *d);
const char *proto_decoder_error(const struct proto_decoder *d);
/* A message has begun and not ended. */
static inline bool proto_decoder_open(const struct proto_decoder *d)
{
    return d->open;
}

/* Type, section count, ranges, and the length of the whole message. NULL = fine, else what is
 * wrong. */
const char *proto_validate_head(const struct proto_message *m, size_t len);
/* What is in the sections. */
const char *proto_validate_sections(const struct proto_message *m);
char proto_section_kind(uint16_t type, unsigned section); /* o JSON object, s stream, b bytes */

/*
 * One message to send, cut into packets. proto_encoder_init copies; -EMSGSIZE over the caps,
 * -ENOMEM. proto_encoder_next writes the next packet into out (PACKET_MAX bytes of room) and
 * returns its length, 0 = no more; proto_encoder_back undoes the last next (the socket was full).
 */
struct proto_encoder {
    struct buf message;
    size_t at, prev;
};
int proto_encoder_init(struct proto_encoder *e, uint16_t type, uint32_t arg, uint64_t req,
                       const struct proto_section *sections, unsigned nsections);
void proto_encoder_deinit(struct proto_encoder *e);
size_t proto_encoder_next(struct proto_encoder *e, uint8_t *out);
void proto_encoder_back(struct proto_encoder *e);

/*
 * Raw bytes of one member of a well-formed JSON object (json_check_object was 0), found without
 * building a tree. The key is compared as written: an escaped spelling of it is not found. false:
 * no such member.
 */
bool json_pick(const void *object, size_t len, const char *key, struct proto_section *ret_value);
