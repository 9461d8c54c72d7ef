/* LINK: cbx_notebook_document */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/notebook/document.h"

static json_t *parse(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    return o;
}

static json_t *notebook(const char *cells)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"nbformat\":4,\"nbformat_minor\":5,\"metadata\":{\"kernelspec\":{\"name\":"
             "\"cellbox-python\"}},"
             "\"cells\":[%s]}",
             cells);
    return parse(text);
}

#define CODE(source, tags)                                                        \
    "{\"cell_type\":\"code\",\"source\":" source ",\"metadata\":{\"tags\":[" tags \
    "]},\"outputs\":[1]}"

static void says_what_is_no_notebook(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"nbformat\":3,\"cells\":[]}",
        "{\"nbformat\":4}",
        "{\"nbformat\":4,\"cells\":[1]}",
        "{\"nbformat\":4,\"cells\":[{\"cell_type\":\"code\"}]}",
        "{\"nbformat\":4,\"cells\":[{\"cell_type\":\"code\",\"source\":[1]}]}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        json_t *o = parse(bad[i]);
        assert_true(notebook_check(o, &e) < 0);
        assert_true(*e.text);
        json_decref(o);
    }
    struct err e = {0};
    json_t *fine = notebook(CODE("[\"a\\n\",\"b\"]", ""));
    struct buf source = {0};
    assert_int_equal(notebook_check(fine, &e), 0);
    assert_string_equal(notebook_language(fine), "python");
    assert_int_equal(notebook_source(json_array_get(json_object_get(fine, "cells"), 0), &source),
                     0);
    assert_string_equal(buf_str(&source), "a\nb");
    buf_deinit(&source);
    json_decref(fine);
}

static const char *source_at(json_t *nb, size_t i)
{
    return json_string_value(
        json_object_get(json_array_get(json_object_get(nb, "cells"), i), "source"));
}

static void parameters_go_where_papermill_puts_them(void **state)
{
    json_t *p = parse("{\"n\":null,\"t\":true,\"s\":\"a\\\"\\n\",\"l\":[1,2.5,{\"k\":false}]}");
    struct err e = {0};
    (void)state;
    json_t *nb = notebook(
        CODE("\"first\"", "") "," CODE("\"defaults\"", "\"parameters\"") "," CODE("\"last\"", ""));
    assert_int_equal(notebook_inject(nb, "python", p, &e), 0);
    assert_string_equal(source_at(nb, 1), "defaults");
    assert_string_equal(
        source_at(nb, 2),
        "# Parameters\nn = None\nt = True\ns = \"a\\\"\\n\"\nl = [1, 2.5, {\"k\": False}]\n");
    assert_string_equal(source_at(nb, 3), "last");
    /* Again: in place of the earlier ones. */
    json_t *q = parse("{\"n\":7}");
    assert_int_equal(notebook_inject(nb, "javascript", q, &e), 0);
    assert_string_equal(source_at(nb, 2), "// Parameters\nvar n = 7;\n");
    assert_int_equal(json_array_size(json_object_get(nb, "cells")), 4);
    json_t *evil = parse("{\"import os; x\":1}");
    assert_true(notebook_inject(nb, "python", evil, &e) < 0);
    json_t *plain = notebook(CODE("\"only\"", ""));
    assert_int_equal(notebook_inject(plain, "python", q, &e), 0);
    assert_string_equal(source_at(plain, 1), "only");
    json_decref(p);
    json_decref(q);
    json_decref(nb);
    json_decref(evil);
    json_decref(plain);
}

static void outputs_are_kept_as_notebooks_have_them(void **state)
{
    json_t *nb = notebook(CODE("\"x\"", ""));
    json_t *cell = json_array_get(json_object_get(nb, "cells"), 0);
    struct outputs o;
    (void)state;
    notebook_clear(nb);
    assert_int_equal(outputs_init(&o, 1000), 0);
    outputs_begin(&o, cell);
    outputs_stream(&o, "stdout", "a", 1);
    outputs_stream(&o, "stdout", "b\xff", 2);
    outputs_stream(&o, "stderr", "c", 1);
    outputs_display(&o, parse("{\"text/plain\":\"1\"}"), NULL, "d");
    outputs_update(&o, parse("{\"text/plain\":\"2\"}"), NULL, "d");
    outputs_update(&o, parse("{\"text/plain\":\"3\"}"), NULL, "unknown");
    outputs_result(&o, parse("{\"text/plain\":\"r\"}"), NULL, 5);
    char *text = json_dumps(json_object_get(cell, "outputs"), JSON_COMPACT);
    assert_string_equal(
        text,
        "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":[\"a\",\"b\xef\xbf\xbd\"]},"
        "{\"output_type\":\"stream\",\"name\":\"stderr\",\"text\":[\"c\"]},"
        "{\"output_type\":\"display_data\",\"data\":{\"text/plain\":\"2\"},\"metadata\":{}},"
        "{\"output_type\":\"execute_result\",\"data\":{\"text/"
        "plain\":\"r\"},\"metadata\":{},\"execution_count\":5}]");
    free(text);
    outputs_clear(&o, true);
    assert_int_equal(json_array_size(json_object_get(cell, "outputs")), 4);
    outputs_stream(&o, "stdout", "new", 3);
    assert_int_equal(json_array_size(json_object_get(cell, "outputs")), 1);
    char big[2000] = {0};
    memset(big, 'x', sizeof big - 1);
    outputs_stream(&o, "stdout", big, sizeof big - 1);
    outputs_stream(&o, "stdout", "more", 4);
    assert_true(o.truncated);
    assert_int_equal(json_array_size(json_object_get(cell, "outputs")),
                     2); /* the text, and the sentence */
    outputs_deinit(&o);
    json_decref(nb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_is_no_notebook),
                                       cmocka_unit_test(parameters_go_where_papermill_puts_them),
                                       cmocka_unit_test(outputs_are_kept_as_notebooks_have_them)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
