/* Where the image store's program stands. */
#pragma once

char *image_program(void); /* caller frees; NULL when there is none */
