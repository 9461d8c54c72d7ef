#include "sandbox/boxd/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/box/disk.h"
#include "sandbox/fs/volume.h"

enum kind { TEXT16, TEXT128, TEXT256, U32, BYTES };

static const struct option_def {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *help;
} options[] = {
    {"listen", TEXT128, offsetof(struct config, listen),
     "ADDR:PORT to serve on (port 0: any); default 127.0.0.1:8888"},
    {"token", TEXT128, offsetof(struct config, token),
     "access token; default: generated once, kept in the state directory"},
    {"token-file", TEXT256, offsetof(struct config, token_file),
     "file that holds the access token: it then stands in no command line"},
    {"preview-domain", TEXT128, offsetof(struct config, preview_domain),
     "domain whose hosts serve previews and nothing else, e.g. cellbox-previews.example"},
    {"state-dir", TEXT256, offsetof(struct config, state_dir),
     "disks, registry, journals; default /var/lib/cellbox"},
    {"key-dir", TEXT256, offsetof(struct config, key_dir),
     "directory of the keys that seal secrets and the registry; default: the state directory"},
    {"image-dir", TEXT256, offsetof(struct config, image_dir), "image store"},
    {"pool", U32, offsetof(struct config, pool_warm),
     "warm sandboxes kept ready, with Python in them; default 4"},
    {"pool-node", U32, offsetof(struct config, pool_node),
     "the same with Node, for JavaScript and TypeScript; default 1"},
    {"uid-base", U32, offsetof(struct config, uid_base),
     "first host uid of the ranges given to sandboxes"},
    {"memory", BYTES, offsetof(struct config, memory),
     "default memory limit of a sandbox, e.g. 2G (the default)"},
    {"cpu", U32, offsetof(struct config, cpu),
     "default CPU limit in thousandths of a CPU; 0 = none (the default)"},
    {"pids", U32, offsetof(struct config, pids),
     "default limit of processes and threads; default 1024"},
    {"disk", BYTES, offsetof(struct config, disk),
     "default disk limit of a sandbox, e.g. 4G, at most 64G; 0 = none (the default)"},
    {"cull-idle", U32, offsetof(struct config, cull_idle),
     "end Jupyter kernels that nobody used for so many seconds; default 0: never"},
    {"egress-resolver", TEXT128, offsetof(struct config, egress_resolver),
     "name servers that sandboxes' connections are resolved by, ADDR:PORT[,...]; default: the "
     "host's"},
    {"egress-policy", TEXT256, offsetof(struct config, egress_policy),
     "JSON file: the egress policy of sandboxes that have none of their own"},
    {"egress-ca", TEXT256, offsetof(struct config, egress_ca),
     "PEM file with authorities that servers may have beside the host's own"},
    {"kernel-launchers", TEXT256, offsetof(struct config, kernel_launchers),
     "ADDR[,...]: machines beside this one that Jupyter kernels may register at (JEP 66)"},
    {"ws-compression", TEXT16, offsetof(struct config, ws_compression),
     "compress WebSocket messages: auto (to other machines; the default), never, always"},
    {"zygote-clones", U32, offsetof(struct config, zygote_clones),
     "replace the warm interpreter after so many clones"},
};

/* What numbers may be. */
static const struct option_bounds {
    const char *name;
    uint64_t min, max;
    bool or_none; /* 0 is allowed, too, and means none */
} option_bounds[] = {
    {"pool", 0, 1000, false},
    {"pool-node", 0, 1000, false},
    {"uid-base", 65536, UINT32_MAX - (uint64_t)UID_SLOTS *UID_RANGE, false},
    {"memory", 16 << 20, 1ull << 46, false},
    {"cpu", 10, 1024000, true},
    {"pids", 8, 1 << 20, false},
    {"disk", 16 << 20, VOLUME_BYTES, true},
    {"zygote-clones", 1, UINT32_MAX, false},
};

static int check_bounds(const char *name, uint64_t v, struct err *err)
{
    for (size_t i = 0; i < sizeof option_bounds / sizeof *option_bounds; i++) {
        const struct option_bounds *b = &option_bounds[i];
        if (strcmp(b->name, name) != 0 || (v >= b->min && v <= b->max) || (b->or_none && !v))
            continue;
        return err_set(err, -ERANGE, "read options", "--%s: %llu is not between %llu and %llu",
                       name, (unsigned long long)v, (unsigned long long)b->min,
                       (unsigned long long)b->max);
    }
    return 0;
}

static int parse_number(const char *text, enum kind kind, uint64_t *ret)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (kind == BYTES && *end) {
        const char *unit = strchr("KMGT", toupper((unsigned char)*end));
        int shift = unit ? 10 * (int)(unit - "KMGT" + 1) : 0;
        if (!unit || v > UINT64_MAX >> shift)
            return -ERANGE;
        v <<= shift;
        end++;
    }
    if (*end || errno || (kind == U32 && v > UINT32_MAX))
        return -EINVAL;
    *ret = v;
    return 0;
}

static int set_option(struct config *c, const char *name, const char *value, struct err *err)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct option_def *o = &options[i];
        uint64_t v;
        if (strcmp(o->name, name))
            continue;
        void *at = (char *)c + o->offset;
        if (o->kind == TEXT16 || o->kind == TEXT128 || o->kind == TEXT256) {
            size_t cap = o->kind == TEXT16 ? 16 : o->kind == TEXT128 ? 128 : 256;
            if (strlen(value) >= cap)
                return err_set(err, -EINVAL, "read options", "--%s is too long", name);
            if (!*value && !strncmp(name, "egress-", 7)) /* it would mean: no bounds */
                return err_set(err, -EINVAL, "read options",
                               "--%s is empty; give it a value, or leave it out", name);
            snprintf(at, cap, "%s", value);
            return 0;
        }
        if (parse_number(value, o->kind, &v) < 0)
            return err_set(err, -EINVAL, "read options", "--%s: %s is not a number", name, value);
        int r = check_bounds(name, v, err);
        if (r < 0)
            return r;
        if (o->kind == BYTES)
            *(uint64_t *)at = v;
        else
            *(uint32_t *)at = (uint32_t)v;
        return 0;
    }
    return err_set(err, -EINVAL, "read options", "unknown option --%s; see --help", name);
}

/* Lines "name = value", # comments. */
static int read_file(struct config *c, const char *path, struct err *err)
{
    char line[512];
    int number = 0, r = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(err, -errno, "read configuration", "%s: %s", path, strerror(errno));
    while (r == 0 && fgets(line, sizeof line, f)) {
        char name[64], value[sizeof line];
        number++;
        if (!strchr(line, '\n') && strlen(line) == sizeof line - 1) {
            r = err_set(err, -EINVAL, "read configuration", "%s:%d: the line is too long", path,
                        number);
            break;
        }
        line[strcspn(line, "#\n")] = 0;
        if (line[strspn(line, " \t")] == 0)
            continue;
        if (sscanf(line, " %63[a-z-] = %511[^\n]", name, value) != 2) {
            r = err_set(err, -EINVAL, "read configuration", "%s:%d: expected name = value", path,
                        number);
            break;
        }
        for (size_t n = strlen(value); n && isspace((unsigned char)value[n - 1]);)
            value[--n] = 0;
        struct err why = {0};
        r = set_option(c, name, value, &why);
        if (r < 0)
            err_set(err, r, "read configuration", "%s:%d: %s", path, number, why.text);
    }
    if (r == 0 && ferror(f))
        r = err_set(err, -EIO, "read configuration", "%s: %s", path, strerror(EIO));
    fclose(f);
    return r;
}

static void usage(void)
{
    printf("usage: kernel-gw [options]\n\nThe Cellbox server.\n\n  --config FILE        lines "
           "\"name = value\" with the "
           "names below\n");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        printf("  --%-18s %s\n", options[i].name, options[i].help);
    printf("  --version, --help\n\nEnvironment: CELLBOX_LOG=debug|info|warn|error, CELLBOX_TOKEN, "
           "CELLBOX_IMAGE_DIR.\n");
}

/* The build tree or prefix that this program stands in: directory above bin/. */
static void locate(struct config *c)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return;
    self[n] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = 0;
    }
    if (strlen(self) > 200)
        return;
    snprintf(c->gateway, sizeof c->gateway, "%.200s/libexec/cellbox/cbx-gateway", self);
    snprintf(c->egress, sizeof c->egress, "%.200s/libexec/cellbox/cbx-egress", self);
    snprintf(c->handlers, sizeof c->handlers, "%.200s/libexec/cellbox/egress", self);
    snprintf(c->runtime, sizeof c->runtime, "%.200s/libexec/cellbox/runtime.erofs", self);
    if (!*c->image_dir) {
        char marker[PATH_MAX];
        snprintf(marker, sizeof marker, "%.200s/CMakeCache.txt", self);
        if (access(marker, F_OK) ==
            0) /* variants of a build (build/asan) share the images of build/ */
            snprintf(c->image_dir, sizeof c->image_dir, "%.200s/images", self);
        char *slash = strrchr(self, '/');
        if (*c->image_dir && access(c->image_dir, F_OK) < 0 && slash) {
            *slash = 0;
            snprintf(c->image_dir, sizeof c->image_dir, "%.200s/images", self);
        }
    }
}

/* Everybody may read a command line; a token that was given there stands in it no longer. */
static void hide(char *text)
{
    memset(text, '*', strlen(text));
}

static int read_token_file(struct config *c, struct err *err)
{
    char text[sizeof c->token + 2];
    ssize_t n = fd_read_file_at(AT_FDCWD, c->token_file, text, sizeof text);
    if (n < 0)
        return err_set(err, (int)n, "read token file", "%s: %s", c->token_file, strerror((int)-n));
    text[strcspn(text, "\r\n")] = 0;
    if (!*text || strlen(text) >= sizeof c->token || strpbrk(text, " \t"))
        return err_set(err, -EINVAL, "read token file",
                       "%s: the first line must be a token of 1 to %zu characters without spaces",
                       c->token_file, sizeof c->token - 1);
    snprintf(c->token, sizeof c->token, "%s", text);
    return 0;
}

/* What no table of single options can say. */
static int check_options(struct config *c, struct err *err)
{
    if (*c->ws_compression && strcmp(c->ws_compression, "auto") &&
        strcmp(c->ws_compression, "never") && strcmp(c->ws_compression, "always"))
        return err_set(err, -EINVAL, "read options",
                       "--ws-compression is auto, never or always, not %s", c->ws_compression);
    if (strspn(c->preview_domain, "abcdefghijklmnopqrstuvwxyz0123456789.-") !=
            strlen(c->preview_domain) ||
        c->preview_domain[0] == '.')
        return err_set(err, -EINVAL, "read options",
                       "--preview-domain: %s is not a domain name in lower case",
                       c->preview_domain);
    if (strspn(c->kernel_launchers, "0123456789abcdefABCDEF.:,") != strlen(c->kernel_launchers))
        return err_set(err, -EINVAL, "read options",
                       "--kernel-launchers: %s is not a list of addresses", c->kernel_launchers);
    return *c->token_file ? read_token_file(c, err) : 0;
}

int config_load(struct config *c, int argc, char **argv, struct err *err)
{
    const char *env_token = getenv("CELLBOX_TOKEN"), *env_images = getenv("CELLBOX_IMAGE_DIR");
    *c = (struct config){.uid_base = 0x20000000,
                         .pool_warm = 4,
                         .pool_node = 1,
                         .parts_ready = 4,
                         .zygote_clones = 1000,
                         .memory = 2ull << 30,
                         .pids = 1024};
    snprintf(c->listen, sizeof c->listen, "127.0.0.1:8888");
    snprintf(c->state_dir, sizeof c->state_dir, "/var/lib/cellbox");
    if (env_token)
        snprintf(c->token, sizeof c->token, "%s", env_token);
    if (env_images)
        snprintf(c->image_dir, sizeof c->image_dir, "%s", env_images);
    for (int pass = 0; pass < 2;
         pass++) { /* the file first, whatever its place, then the options over it */
        for (int i = 1; i < argc; i++) {
            const char *a = argv[i];
            char name[64];
            if (!strcmp(a, "--help") || !strcmp(a, "--version")) {
                if (a[2] == 'h')
                    usage();
                else
                    printf("cellbox %s\n", CELLBOX_VERSION);
                return 1;
            }
            if (strncmp(a, "--", 2))
                return err_set(err, -EINVAL, "read options", "unexpected argument %s; see --help",
                               a);
            const char *eq = strchr(a, '=');
            snprintf(name, sizeof name, "%.*s", (int)(eq ? eq - a - 2 : 60), a + 2);
            const char *value = eq ? eq + 1 : ++i < argc ? argv[i] : NULL;
            if (!value)
                return err_set(err, -EINVAL, "read options", "--%s needs a value", name);
            int is_config = !strcmp(name, "config");
            int r = is_config ? (pass == 0 ? read_file(c, value, err) : 0)
                              : (pass == 1 ? set_option(c, name, value, err) : 0);
            if (r < 0)
                return r;
            if (pass == 1 && !strcmp(name, "token"))
                hide(eq ? strchr(argv[i], '=') + 1 : argv[i]);
        }
    }
    int r = check_options(c, err);
    if (r < 0)
        return r;
    locate(c);
    if (!*c->image_dir)
        snprintf(c->image_dir, sizeof c->image_dir, "%.240s/images", c->state_dir);
    return 0;
}

const char *config_key_dir(const struct config *c)
{
    return *c->key_dir ? c->key_dir : c->state_dir;
}
