/*
 * RFC 8259 as a machine that is fed bytes: a message of many megabytes is checked while it comes,
 * so that its last packet costs no more than any other.
 */
#include <errno.h>
#include <string.h>

#include "sandbox/base/json.h"

enum state {
    VALUE,       /* white space or the beginning of a value */
    FIRST_VALUE, /* the same or ], after [ */
    KEY,         /* after a comma in an object */
    FIRST_KEY,   /* the same or }, after { */
    COLON,       /* after a key */
    AFTER,       /* after a value */
    STRING,      /* and keys */
    CHARACTER,   /* bytes of one UTF-8 character are missing */
    ESCAPE,      /* after a backslash */
    HEX,         /* digits of \u */
    LOW_ESCAPE,  /* after a high surrogate: a backslash */
    LOW_U,       /* and a u */
    MINUS,       /* a digit must follow */
    ZERO,        /* no digit may follow */
    INTEGER,     /* digits */
    POINT,       /* a digit must follow */
    FRACTION,    /* digits */
    EXPONENT,    /* a sign or a digit must follow */
    SIGN,        /* a digit must follow */
    POWER,       /* digits */
    WORD,        /* rest of true, false or null */
    BAD,
};

static const char *const words[] = {"true", "false", "null"};

void json_checker_init(struct json_checker *c)
{
    *c = (struct json_checker){.state = VALUE};
}

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\n' || b == '\t' || b == '\r';
}

static bool is_digit(uint8_t b)
{
    return b >= '0' && b <= '9';
}

static bool in_object(const struct json_checker *c)
{
    return c->depth && (c->objects[(c->depth - 1) / 8] >> ((c->depth - 1) % 8) & 1);
}

static enum state open_container(struct json_checker *c, bool object)
{
    if (c->depth == JSON_DEPTH_MAX)
        return BAD;
    uint8_t bit = (uint8_t)(1u << (c->depth % 8));
    if (object)
        c->objects[c->depth / 8] |= bit;
    else
        c->objects[c->depth / 8] &= (uint8_t)~bit;
    c->depth++;
    return object ? FIRST_KEY : FIRST_VALUE;
}

static enum state begin_string(struct json_checker *c, bool key)
{
    c->key = key;
    return STRING;
}

static enum state begin_value(struct json_checker *c, uint8_t b)
{
    if (!c->depth)
        c->first = b;
    if (b == '{' || b == '[')
        return open_container(c, b == '{');
    if (b == '"')
        return begin_string(c, false);
    if (b == '-')
        return MINUS;
    if (is_digit(b))
        return b == '0' ? ZERO : INTEGER;
    for (uint8_t i = 0; i < 3; i++) {
        if (b == (uint8_t)words[i][0]) {
            c->word = i;
            c->at = 1;
            return WORD;
        }
    }
    return BAD;
}

/* Behind a value: what closes its container, or goes on with it. */
static enum state after_value(struct json_checker *c, uint8_t b)
{
    if (is_space(b))
        return AFTER;
    if (!c->depth)
        return BAD;
    bool object = in_object(c);
    if (b == ',')
        return object ? KEY : VALUE;
    if (b != (object ? '}' : ']'))
        return BAD;
    c->depth--;
    return AFTER;
}

static enum state begin_character(struct json_checker *c, uint8_t b)
{
    c->low = 0x80;
    c->high = 0xbf;
    if (b >= 0xc2 && b <= 0xdf) {
        c->at = 1;
    } else if (b >= 0xe0 && b <= 0xef) {
        c->at = 2;
        if (b == 0xe0)
            c->low = 0xa0;
        if (b == 0xed)
            c->high = 0x9f;
    } else if (b >= 0xf0 && b <= 0xf4) {
        c->at = 3;
        if (b == 0xf0)
            c->low = 0x90;
        if (b == 0xf4)
            c->high = 0x8f;
    } else {
        return BAD;
    }
    return CHARACTER;
}

static enum state in_character(struct json_checker *c, uint8_t b)
{
    if (b < c->low || b > c->high)
        return BAD;
    c->low = 0x80;
    c->high = 0xbf;
    return --c->at ? CHARACTER : STRING;
}

static enum state in_string(struct json_checker *c, uint8_t b)
{
    if (b == '"')
        return c->key ? COLON : AFTER;
    if (b == '\\') {
        c->surrogate = false;
        return ESCAPE;
    }
    return b >= 0x80 ? begin_character(c, b) : b < 0x20 ? BAD : STRING;
}

static enum state begin_hex(struct json_checker *c)
{
    c->at = 0;
    c->code = 0;
    return HEX;
}

/* A lone \uD800-\uDFFF escape is legal JSON text but no character; parsers downstream choke on it,
 * so it is refused. */
static enum state in_hex(struct json_checker *c, uint8_t b)
{
    uint8_t lower = b | 32;
    if (!is_digit(b) && (lower < 'a' || lower > 'f'))
        return BAD;
    c->code = (uint16_t)(c->code * 16 + (is_digit(b) ? b - '0' : lower - 'a' + 10));
    if (++c->at < 4)
        return HEX;
    bool high = c->code >= 0xd800 && c->code <= 0xdbff,
         low = c->code >= 0xdc00 && c->code <= 0xdfff;
    if (c->surrogate)
        return low ? STRING : BAD;
    c->surrogate = high;
    return high ? LOW_ESCAPE : low ? BAD : STRING;
}

/* A number is over with the first byte that is none of it. */
static enum state in_number(struct json_checker *c, enum state s, uint8_t b)
{
    bool digit = is_digit(b), whole = s == ZERO || s == INTEGER;
    if (digit)
        return s == MINUS                   ? (b == '0' ? ZERO : INTEGER)
               : s == ZERO                  ? BAD
               : s == POINT                 ? FRACTION
               : s == EXPONENT || s == SIGN ? POWER
                                            : s;
    if (b == '.' && whole)
        return POINT;
    if ((b | 32) == 'e' && (whole || s == FRACTION))
        return EXPONENT;
    if ((b == '+' || b == '-') && s == EXPONENT)
        return SIGN;
    return whole || s == FRACTION || s == POWER ? after_value(c, b) : BAD;
}

static enum state in_word(struct json_checker *c, uint8_t b)
{
    if (b != (uint8_t)words[c->word][c->at])
        return BAD;
    return words[c->word][++c->at] ? WORD : AFTER;
}

static enum state in_structure(struct json_checker *c, enum state s, uint8_t b)
{
    if (is_space(b))
        return s;
    switch (s) {
    case FIRST_VALUE:
        return b == ']' ? (c->depth--, AFTER) : begin_value(c, b);
    case FIRST_KEY:
        if (b == '}') {
            c->depth--;
            return AFTER;
        }
        return b == '"' ? begin_string(c, true) : BAD;
    case KEY:
        return b == '"' ? begin_string(c, true) : BAD;
    case COLON:
        return b == ':' ? VALUE : BAD;
    default:
        return begin_value(c, b);
    }
}

static enum state step(struct json_checker *c, uint8_t b)
{
    enum state s = c->state;
    switch (s) {
    case VALUE:
    case FIRST_VALUE:
    case KEY:
    case FIRST_KEY:
    case COLON:
        return in_structure(c, s, b);
    case AFTER:
        return after_value(c, b);
    case STRING:
        return in_string(c, b);
    case CHARACTER:
        return in_character(c, b);
    case ESCAPE:
        return b == 'u' ? begin_hex(c) : b && strchr("\"\\/bfnrt", b) ? STRING : BAD;
    case HEX:
        return in_hex(c, b);
    case LOW_ESCAPE:
        return b == '\\' ? LOW_U : BAD;
    case LOW_U:
        return b == 'u' ? begin_hex(c) : BAD;
    case WORD:
        return in_word(c, b);
    case BAD:
        return BAD;
    default:
        return in_number(c, s, b);
    }
}

int json_checker_feed(struct json_checker *c, const void *data, size_t len)
{
    const uint8_t *p = data, *end = p + len;
    while (p < end && c->state != BAD) {
        if (c->state == STRING) /* nearly all of a big output is text */
            while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
                p++;
        if (p < end)
            c->state = (uint8_t)step(c, *p++);
    }
    return c->state == BAD ? -EINVAL : 0;
}

int json_checker_end(const struct json_checker *c)
{
    bool number =
        c->state == ZERO || c->state == INTEGER || c->state == FRACTION || c->state == POWER;
    return !c->depth && (c->state == AFTER || number) ? 0 : -EINVAL;
}

int json_check(const void *data, size_t len)
{
    struct json_checker c;
    json_checker_init(&c);
    int r = json_checker_feed(&c, data, len);
    return r < 0 ? r : json_checker_end(&c);
}

int json_check_object(const void *data, size_t len)
{
    struct json_checker c;
    json_checker_init(&c);
    int r = json_checker_feed(&c, data, len);
    r = r < 0 ? r : json_checker_end(&c);
    return r == 0 && c.first != '{' ? -EINVAL : r;
}
