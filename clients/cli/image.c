/* cellbox image: the image store has its own program, which needs no server. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/commands.h"
#include "clients/cli/image.h"
#include "clients/cli/util.h"

char *image_program(void)
{
    CLEANUP_FREE char *prefix = program_prefix();
    char *tool = text_format("%s/libexec/cellbox/cellbox-image", prefix);
    if (access(tool, X_OK) == 0)
        return tool;
    free(tool);
    return NULL;
}

int command_image(int argc, char **argv)
{
    char *tool = image_program();
    CLEANUP_FREE char **args = must(calloc((size_t)argc + 1, sizeof *args));
    if (!tool)
        return fail(STATUS_SERVER, "cellbox-image was not found beside this program; reinstall "
                                   "Cellbox or run ./bootstrap build");
    memcpy(args, argv, (size_t)argc * sizeof *args);
    args[0] = tool;
    execv(tool, args);
    int r = fail(STATUS_SERVER, "cannot start %s: %s", tool, strerror(errno));
    free(tool);
    return r;
}
