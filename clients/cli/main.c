/* cellbox: the command line of a Cellbox server. Commands speak the public HTTP interface and
 * nothing else. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/util.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"create", command_create, "make a sandbox, with limits and options"},
    {"info", command_info, "show the state, the limits and the use of a sandbox"},
    {"set", command_set, "change the limits and options of a sandbox"},
    {"run", command_run, "run a program in a sandbox and show its output"},
    {"exec", command_exec, "run a command in a sandbox, or start it in the background"},
    {"shell", command_shell, "open a terminal in a sandbox"},
    {"ps", command_ps, "list what runs in a sandbox"},
    {"logs", command_logs, "show or follow the output of a background process"},
    {"stdin", command_stdin, "give input to a background process"},
    {"kill", command_kill, "end or signal a background process"},
    {"ls", command_ls, "list the sandboxes"},
    {"rm", command_rm, "remove sandboxes"},
    {"context", command_context, "list, restart, interrupt or remove the contexts of a sandbox"},
    {"notebook", command_notebook, "run a whole notebook and write it with its outputs"},
    {"cp", command_cp, "copy files and directories into a sandbox or out of it"},
    {"watch", command_watch, "show what changes in a directory of a sandbox"},
    {"git", command_git, "clone a repository into a sandbox"},
    {"bucket", command_bucket, "make a bucket of an object store a directory"},
    {"port", command_port, "show a port of a sandbox as a web site"},
    {"egress", command_egress, "say what a sandbox may reach, and see what it reached"},
    {"secret", command_secret, "keep credentials that egress rules inject"},
    {"handler", command_handler, "keep JavaScript that answers requests of sandboxes"},
    {"image", command_image, "list, build or remove the images that sandboxes start from"},
    {"kernelspec", command_kernelspec, "make Cellbox a kernel of your Jupyter"},
    {"kernel", command_kernel, "serve a Jupyter connection file (Jupyter starts this)"},
    {"completion", command_completion, "print what completes its words in your shell"},
    {"doctor", command_doctor, "say what this machine gives and what is degraded"},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: cellbox COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\ncellbox COMMAND --help tells more. The server is found by CELLBOX_URL and "
                "CELLBOX_TOKEN, else it is the\n"
                "one of this machine.\n");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        usage(stdout);
        return STATUS_OK;
    }
    if (!strcmp(name, "--version")) {
        printf("cellbox %s\n", CELLBOX_VERSION);
        return STATUS_OK;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(name, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    if (*name)
        fail(STATUS_USAGE, "'%s' is not a command", name);
    usage(stderr);
    return STATUS_USAGE;
}
