/* cellbox doctor: the probes of the machine, the image and the server as a list with verdicts. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/image.h"
#include "clients/cli/probe.h"

static void probe_image(struct probe *p)
{
    CLEANUP_FREE char *tool = image_program();
    int status = -1;
    p->name = "image";
    p->state = PROBE_MISSING;
    p->lost = "sandboxes have nothing to start from; build it: sudo cellbox image build";
    if (!tool) {
        snprintf(p->found, sizeof p->found, "cellbox-image is not installed beside this program");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execl(tool, tool, "has", "default", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(p->found, sizeof p->found, "no image 'default'");
        return;
    }
    snprintf(p->found, sizeof p->found, "default");
    p->state = PROBE_OK;
}

static void probe_server(struct probe *p)
{
    CLEANUP_FREE char *why = NULL;
    CLEANUP_REPLY struct reply reply = {0};
    struct server s;
    p->name = "server";
    p->state = PROBE_DEGRADED;
    p->lost = "the other commands have nobody to talk to; start one: ./bootstrap run";
    if (server_find_quiet(&s, &why)) {
        snprintf(p->found, sizeof p->found, "%s", why);
        p->lost = NULL;
        return;
    }
    http_call(&s, "GET", "/readyz", NULL, 5000, &reply);
    const char *version = json_text(reply.json, "version");
    if (reply.status == 200) {
        p->state = PROBE_OK;
        p->lost = NULL;
        snprintf(p->found, sizeof p->found, "%.120s%s%.40s", s.url, *version ? ", version " : "",
                 version);
    } else if (reply.status) {
        snprintf(p->found, sizeof p->found, "%.120s answers HTTP %ld", s.url, reply.status);
        p->lost = "it is not ready; its log says why";
    } else {
        snprintf(p->found, sizeof p->found, "%.60s: %.120s", s.url, reply.problem);
    }
    server_deinit(&s);
}

static const char *state_name(enum probe_state state)
{
    return state == PROBE_OK ? "ok" : state == PROBE_DEGRADED ? "degraded" : "missing";
}

static void print_text(const struct probe *probes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct probe *p = &probes[i];
        printf("%-9s %-17s %s\n", state_name(p->state), p->name, p->found);
        if (p->lost)
            printf("%-9s %-17s -> %s\n", "", "", p->lost);
    }
}

static void print_checks(const struct probe *probes, size_t n, bool ok)
{
    CLEANUP_JSON json_t *list = must(json_array());
    for (size_t i = 0; i < n; i++) {
        const struct probe *p = &probes[i];
        json_array_append_new(
            list, must(json_pack("{s:s, s:s, s:s, s:s?}", "name", p->name, "state",
                                 state_name(p->state), "found", p->found, "meaning", p->lost)));
    }
    CLEANUP_JSON json_t *report = must(json_pack("{s:b, s:O}", "ok", ok, "checks", list));
    print_json(report);
}

static int doctor(bool json)
{
    struct probe probes[PROBE_MACHINE_COUNT + 2] = {0};
    const size_t n = sizeof probes / sizeof *probes;
    bool ok = true;
    probe_machine(probes);
    probe_image(&probes[PROBE_MACHINE_COUNT]);
    probe_server(&probes[PROBE_MACHINE_COUNT + 1]);
    for (size_t i = 0; i < n; i++)
        ok = ok && probes[i].state != PROBE_MISSING;
    if (json)
        print_checks(probes, n, ok);
    else
        print_text(probes, n);
    return ok ? STATUS_OK : STATUS_FAILED;
}

int command_doctor(int argc, char **argv)
{
    bool json = false;
    const struct opt opts[] = {{"json", OPT_FLAG, &json, NULL, "print the report as JSON"}};
    struct args a = {
        .synopsis = "doctor [--json]",
        .about = "Says what this machine gives to a Cellbox server: ok, degraded (it works "
                 "without, and what is lost) or\n"
                 "missing (it cannot work). Exit status 1 when something needed is missing.",
        .opts = opts,
        .nopts = 1,
    };
    int status = args_parse(&a, argc, argv) ? doctor(json) : a.status;
    free(a.positional);
    return status;
}
