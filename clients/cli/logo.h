/* Pictures of a kernelspec. */
#pragma once

#include <stddef.h>

extern const char logo_svg[];
extern const size_t logo_svg_len;
extern const char logo_png[];
extern const size_t logo_png_len;
