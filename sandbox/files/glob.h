/*
 * Patterns of paths: ? any character but /, * any number of them, ** any number with /, [a-z] and
 * [!a-z] sets, \ takes the next one as it is. A pattern without / is compared with the last part of
 * the path alone. Linear in memory; the time is at most the product of the lengths squared.
 */
#pragma once

#include <stdbool.h>

bool glob_match(const char *pattern, const char *path);
bool glob_valid(
    const char *pattern); /* sets are closed, nothing is escaped at the end, not empty */
