/* Patterns in which `*` stands for any sequence and every other byte for itself. Linear time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool policy_glob(const char *pattern, size_t pattern_len, const char *text, size_t len);
