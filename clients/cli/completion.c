#include <stdio.h>
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/embed.h"
#include "clients/cli/util.h"

FILE_OF_THE_TREE(completion_bash, "clients/cli/cellbox.bash");
FILE_OF_THE_TREE(completion_zsh, "clients/cli/cellbox.zsh");
FILE_OF_THE_TREE(completion_fish, "clients/cli/cellbox.fish");

extern const char completion_bash[], completion_zsh[], completion_fish[];

int command_completion(int argc, char **argv)
{
    static const struct {
        const char *shell, *text;
    } shells[] = {{"bash", completion_bash}, {"zsh", completion_zsh}, {"fish", completion_fish}};
    struct args a = {
        .synopsis = "completion bash|zsh|fish",
        .about = "Prints what makes a shell complete commands, options and names of sandboxes. In "
                 "its start-up file:\n\n"
                 "  bash  source <(cellbox completion bash)\n"
                 "  zsh   source <(cellbox completion zsh)          (after compinit)\n"
                 "  fish  cellbox completion fish | source",
        .min = 1,
        .max = 1,
    };
    int status = args_parse(&a, argc, argv) ? STATUS_OK : a.status;
    if (status == STATUS_OK && a.n) {
        status = STATUS_USAGE;
        for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
            if (!strcmp(a.positional[0], shells[i].shell))
                status = fputs(shells[i].text, stdout) < 0 ? STATUS_FAILED : STATUS_OK;
        if (status == STATUS_USAGE)
            fail(STATUS_USAGE, "there is no completion for %s", a.positional[0]);
    }
    free(a.positional);
    return status;
}
