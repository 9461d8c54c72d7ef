/* Pictures of a kernelspec. */
#pragma once

extern const char logo_svg[], logo_svg_end[];
extern const char logo_png[], logo_png_end[];
