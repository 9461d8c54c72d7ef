/* LINK: cbx_glob */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sandbox/files/glob.h"

static void test_matches(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool match;
    } cases[] = {
        {"*.py", "a.py", true},
        {"*.py", "dir/a.py", true},
        {"*.py", "a.pyc", false},
        {"src/*.py", "src/a.py", true},
        {"src/*.py", "src/b/a.py", false},
        {"src/**", "src/b/a.py", true},
        {"src/**/a.py", "src/a.py", true},
        {"src/**/a.py", "src/x/y/a.py", true},
        {"src/**/a.py", "src/xa.py", false},
        {"**/b", "a/b", true},
        {"**/b", "b", true},
        {"**/b", "ab", false},
        {"**/b/**/c", "a/b/x/b/y/c", true},
        {"a?c", "abc", true},
        {"a?c", "a/c", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},
        {"[!a-c]x", "dx", true},
        {"[]]", "]", true},
        {"[a-]", "-", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a*b*c", "axxbxxc", true},
        {"a*b*c", "axxbxx", false},
        {"node_modules", "x/node_modules", true},
        {"*", "", true},
        {"a/*/c", "a//c", true},
        {"**", "a/b/c", true},
        {"a**c", "a/b/c", true},
        {"[", "[", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (glob_match(cases[i].pattern, cases[i].path) != cases[i].match)
            fail_msg("%s against %s", cases[i].pattern, cases[i].path);
    }
}

static void test_valid(void **state)
{
    (void)state;
    assert_true(glob_valid("a/**/[x-z]*.c"));
    assert_true(glob_valid("\\["));
    assert_false(glob_valid(""));
    assert_false(glob_valid("a["));
    assert_false(glob_valid("[]"));
    assert_false(glob_valid("a\\"));
}

/* What makes careless matchers take for ever. */
static void test_bounded(void **state)
{
    char pattern[200], path[400];
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < 60; i++) {
        pattern[n++] = '*';
        pattern[n++] = 'a';
    }
    pattern[n++] = 'b';
    pattern[n] = 0;
    for (n = 0; n < sizeof path - 1; n++)
        path[n] = 'a';
    path[n] = 0;
    assert_false(glob_match(pattern, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
