/* A cell with a prompt, as the launcher of a notebook shows it: SVG, and the same as PNG of 64x64
 * for older ones. */
#include "clients/cli/logo.h"

#include "clients/cli/embed.h"

FILE_OF_THE_TREE(logo_svg, "assets/logo-svg.svg");
FILE_OF_THE_TREE(logo_png, "assets/logo-64x64.png");
