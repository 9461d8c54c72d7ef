/* cellbox kernelspec install|uninstall|ls: entries in a Jupyter data directory whose argv is
 * `cellbox kernel`. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/logo.h"
#include "clients/cli/table.h"
#include "clients/cli/util.h"

#define DEFAULT_NAME "cellbox-python"

static const struct language {
    const char *name, *kernel, *display;
} languages[] = {
    {"python", DEFAULT_NAME, "Python 3 (Cellbox)"},
    {"javascript", "cellbox-javascript", "JavaScript (Cellbox)"},
    {"typescript", "cellbox-typescript", "TypeScript (Cellbox)"},
};
enum { LANGUAGES = sizeof languages / sizeof *languages };

struct spec_options {
    bool user, sys_prefix;
    const char *prefix, *name, *display, *sandbox, *language;
};

/* The "kernels" directory that the options mean; NULL after a message. */
static char *kernels_dir(const struct spec_options *o)
{
    const char *data = getenv("JUPYTER_DATA_DIR"), *xdg = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    if (o->user + o->sys_prefix + !!o->prefix > 1) {
        fail(STATUS_USAGE, "--user, --prefix and --sys-prefix exclude each other");
        return NULL;
    }
    if (o->prefix)
        return text_format("%s/share/jupyter/kernels", o->prefix);
    if (o->sys_prefix) {
        const char *env = getenv("VIRTUAL_ENV") ? getenv("VIRTUAL_ENV") : getenv("CONDA_PREFIX");
        if (env && *env)
            return text_format("%s/share/jupyter/kernels", env);
        fail(STATUS_USAGE, "--sys-prefix needs an active environment (VIRTUAL_ENV or "
                           "CONDA_PREFIX); use --prefix DIR");
        return NULL;
    }
    if (data && *data)
        return text_format("%s/kernels", data);
    if (xdg && *xdg)
        return text_format("%s/jupyter/kernels", xdg);
    if (home && *home)
        return text_format("%s/.local/share/jupyter/kernels", home);
    fail(STATUS_USAGE, "HOME is not set; use --prefix DIR");
    return NULL;
}

static bool name_valid(const char *name)
{
    size_t n = strlen(name);
    if (!n || n > 100 || *name == '.')
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

static json_t *make_spec(const struct spec_options *o, const struct language *l)
{
    CLEANUP_FREE char *self = program_path();
    json_t *argv =
        must(json_pack("[s, s, s, s]", self, "kernel", "--connection-file", "{connection_file}"));
    if (o->sandbox) {
        json_array_append_new(argv, json_string("--sandbox"));
        json_array_append_new(argv, json_string(o->sandbox));
    }
    if (l != languages) {
        json_array_append_new(argv, json_string("--language"));
        json_array_append_new(argv, json_string(l->name));
    }
    return must(json_pack("{s:o, s:s, s:s, s:s, s:s, s:{s:b}}", "argv", argv, "display_name",
                          o->display ? o->display : l->display, "language", l->name,
                          "interrupt_mode", "message", "kernel_protocol_version", "5.5", "metadata",
                          "debugger", 0));
}

/* Through a temporary name: a Jupyter that looks meanwhile sees the old file or the new one. */
static int put_file(const char *dir, const char *name, const void *data, size_t len)
{
    CLEANUP_FREE char *path = text_format("%s/%s", dir, name);
    CLEANUP_FREE char *tmp = text_format("%s/.%s.%d", dir, name, (int)getpid());
    int r = write_new_file(tmp, data, len);
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(tmp);
    return r;
}

static int install(const struct spec_options *o, const struct language *l, const char *kernels)
{
    const char *name = o->name ? o->name : l->kernel;
    CLEANUP_FREE char *dir = text_format("%s/%s", kernels, name);
    CLEANUP_JSON json_t *spec = make_spec(o, l);
    CLEANUP_FREE char *text = must(json_dumps(spec, JSON_INDENT(1)));
    int r = make_dirs(dir);
    if (r == 0)
        r = put_file(dir, "logo-svg.svg", logo_svg, logo_svg_len);
    if (r == 0)
        r = put_file(dir, "logo-64x64.png", logo_png, logo_png_len);
    if (r == 0)
        r = put_file(dir, "kernel.json", text, strlen(text));
    if (r < 0)
        return fail(STATUS_FAILED, "cannot write %s: %s", dir, strerror(-r));
    printf("installed %s in %s\n", name, dir);
    return STATUS_OK;
}

/* The spec in dir when it is one of ours (its command ends in "kernel --connection-file ..."), else
 * NULL. */
static json_t *load_own(const char *kernels, const char *name)
{
    CLEANUP_FREE char *path = text_format("%s/%s/kernel.json", kernels, name);
    json_t *spec = json_load_file(path, 0, NULL), *argv = json_object_get(spec, "argv");
    const char *program = json_string_value(json_array_get(argv, 0)),
               *verb = json_string_value(json_array_get(argv, 1));
    const char *base = program ? strrchr(program, '/') : NULL;
    if (program && verb && !strcmp(base ? base + 1 : program, "cellbox") && !strcmp(verb, "kernel"))
        return spec;
    json_decref(spec);
    return NULL;
}

static int uninstall(const char *kernels, const char *name)
{
    static const char *const files[] = {"kernel.json", "logo-svg.svg", "logo-64x64.png"};
    CLEANUP_FREE char *dir = text_format("%s/%s", kernels, name);
    CLEANUP_JSON json_t *spec = load_own(kernels, name);
    if (!spec)
        return fail(STATUS_FAILED, "there is no Cellbox kernelspec %s in %s", name, kernels);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CLEANUP_FREE char *path = text_format("%s/%s", dir, files[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return fail(STATUS_FAILED, "cannot remove %s: %s", path, strerror(errno));
    }
    if (rmdir(dir) < 0)
        return fail(STATUS_FAILED, "cannot remove %s: %s", dir, strerror(errno));
    printf("removed %s from %s\n", name, kernels);
    return STATUS_OK;
}

static int list(const char *kernels)
{
    struct table t = {.columns = 3};
    DIR *d = opendir(kernels);
    table_row(&t, "NAME", "DISPLAY NAME", "COMMAND");
    for (struct dirent *e; d && (e = readdir(d));) {
        CLEANUP_JSON json_t *spec = *e->d_name == '.' ? NULL : load_own(kernels, e->d_name);
        if (spec)
            table_row(&t, e->d_name, json_text(spec, "display_name"),
                      json_string_value(json_array_get(json_object_get(spec, "argv"), 0)));
    }
    if (d)
        closedir(d);
    table_print(&t);
    return STATUS_OK;
}

/* One kernelspec for every language, unless a language or a name says which. */
static int install_all(const struct spec_options *o, const char *kernels)
{
    const char *only = o->language ? o->language : o->name ? languages->name : NULL;
    int status = STATUS_OK;
    for (size_t i = 0; i < LANGUAGES && status == STATUS_OK; i++)
        if (!only || !strcmp(only, languages[i].name))
            status = install(o, &languages[i], kernels);
    return status;
}

/* Those of all languages that are there; one must be. */
static int uninstall_all(const struct spec_options *o, const char *kernels)
{
    bool some = false;
    if (o->name)
        return uninstall(kernels, o->name);
    for (size_t i = 0; i < LANGUAGES; i++) {
        CLEANUP_JSON json_t *spec = load_own(kernels, languages[i].kernel);
        if (!spec || (o->language && strcmp(o->language, languages[i].name) != 0))
            continue;
        some = true;
        int status = uninstall(kernels, languages[i].kernel);
        if (status != STATUS_OK)
            return status;
    }
    return some ? STATUS_OK : fail(STATUS_FAILED, "there is no Cellbox kernelspec in %s", kernels);
}

static bool language_valid(const char *name)
{
    for (size_t i = 0; name && i < LANGUAGES; i++)
        if (!strcmp(languages[i].name, name))
            return true;
    return !name;
}

static int act(const struct args *a, const struct spec_options *o)
{
    const char *what = a->positional[0];
    CLEANUP_FREE char *kernels = kernels_dir(o);
    if (!kernels)
        return STATUS_USAGE;
    if (!language_valid(o->language))
        return fail(STATUS_USAGE, "no language '%s': python, javascript or typescript",
                    o->language);
    if (o->name && !name_valid(o->name))
        return fail(STATUS_USAGE, "'%s' is not a kernel name: letters, digits, . _ and -", o->name);
    if (!strcmp(what, "install"))
        return install_all(o, kernels);
    if (!strcmp(what, "uninstall"))
        return uninstall_all(o, kernels);
    if (!strcmp(what, "ls"))
        return list(kernels);
    return fail(STATUS_USAGE, "no command 'kernelspec %s'; usage: cellbox %s", what, a->synopsis);
}

int command_kernelspec(int argc, char **argv)
{
    struct spec_options o = {0};
    const struct opt opts[] = {
        {"user", OPT_FLAG, &o.user, NULL,
         "for this user (the default): JUPYTER_DATA_DIR or ~/.local/share/jupyter"},
        {"prefix", OPT_TEXT, &o.prefix, "DIR", "in DIR/share/jupyter/kernels"},
        {"sys-prefix", OPT_FLAG, &o.sys_prefix, NULL, "in the active virtual or conda environment"},
        {"name", OPT_TEXT, &o.name, "NAME", "name of the kernelspec (default: cellbox-LANGUAGE)"},
        {"language", OPT_TEXT, &o.language, "L",
         "python, javascript or typescript (default: all of them)"},
        {"display-name", OPT_TEXT, &o.display, "TEXT",
         "install: what Jupyter shows, e.g. Python 3 (Cellbox)"},
        {"sandbox", OPT_TEXT, &o.sandbox, "NAME",
         "install: kernels live in this sandbox instead of a new one each"},
    };
    struct args a = {
        .synopsis = "kernelspec install|uninstall|ls [OPTION...]",
        .about = "Adds Cellbox to the kernels of your Jupyter, removes it, or lists what was "
                 "added. After install:\n"
                 "jupyter console --kernel " DEFAULT_NAME,
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 1,
        .max = 1,
    };
    int status = args_parse(&a, argc, argv) ? act(&a, &o) : a.status;
    free(a.positional);
    return status;
}
