/* LINK: cbx_proto */
/* PARSES: contexts/proto/decoder.c contexts/proto/validate.c */
/* Frame decoder against arbitrary packets: u16 length, packet, u16 length, packet... */
#include "contexts/proto/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proto_quota quota = {.max = 1 << 20};
    struct proto_decoder d;
    struct proto_message m;
    proto_decoder_init(&d, &quota);
    while (size >= 2) {
        size_t n = get_le(data, 2);
        data += 2;
        size -= 2;
        n = n > size ? size : n;
        if (proto_decoder_feed(&d, data, n, &m) == 1) {
            struct proto_section v;
            for (unsigned i = 0; i < m.nsections; i++) {
                if (m.sections[i].len && m.sections[i].data[0] == '{')
                    json_pick(m.sections[i].data, m.sections[i].len, "display_id", &v);
            }
        }
        proto_decoder_taken(&d);
        proto_decoder_admit(&d);
        data += n;
        size -= n;
    }
    proto_decoder_deinit(&d);
    if (quota.used)
        __builtin_trap();
    return 0;
}
