/* Files: whole ones, streams of any length, directories.
 * cc files.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

#define BOX "c-files"

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s (%s, HTTP %d)\n", what, e->message, e->code, e->http_status);
    return 1;
}

/* Gives 100 MiB without holding them. */
static int next_zeroes(void *user, void *data, size_t size, size_t *ret_len)
{
    size_t *left = user;
    *ret_len = size < *left ? size : *left;
    memset(data, 0, *ret_len);
    *left -= *ret_len;
    return 0;
}

static int add_len(void *user, const void *data, size_t len)
{
    (void)data;
    *(size_t *)user += len;
    return 0;
}

static int small(struct cellbox_client *client, struct cellbox_error *e)
{
    char *data;
    size_t len;
    struct cellbox_file *file;
    const struct cellbox_write_options script = {.parents = true, .mode = "0755"};
    if (cellbox_file_put(client, BOX, "bin/hello", "#!/bin/sh\necho hi\n", 18, &script, e))
        return fail("put", e);
    if (cellbox_file_get(client, BOX, "bin/../bin/hello", &data, &len, e))
        return fail("get", e);
    printf("%zu bytes: %s", len, data);
    cellbox_free(data);
    if (cellbox_file_stat(client, BOX, "bin/hello", &file, e))
        return fail("stat", e);
    printf("%s is a %s, mode %s\n", file->path, file->type, file->mode);
    cellbox_free(file);
    int r = cellbox_file_get(client, BOX, "none", &data, &len, e);
    printf("none: %s, %s\n", cellbox_strerror(r), e->code);
    return 0;
}

static int large(struct cellbox_client *client, struct cellbox_error *e)
{
    size_t left = 100 << 20, got = 0, tail = 0;
    if (cellbox_file_write(client, BOX, "/tmp/zeroes", next_zeroes, &left, NULL, e))
        return fail("write", e);
    if (cellbox_file_read(client, BOX, "/tmp/zeroes", 0, 0, add_len, &got, e))
        return fail("read", e);
    if (cellbox_file_read(client, BOX, "/tmp/zeroes", (100 << 20) - 10, 0, add_len, &tail, e))
        return fail("read the end", e);
    printf("%zu MiB written and read; the end is %zu bytes\n", got >> 20, tail);
    return 0;
}

static int directories(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_files *files;
    const struct cellbox_list_options all = {.recursive = true};
    if (cellbox_file_mkdir(client, BOX, "a/b", true, e) ||
        cellbox_file_move(client, BOX, "bin/hello", "a/b/hello", e) ||
        cellbox_file_list(client, BOX, "a", &all, &files, e))
        return fail("directories", e);
    for (size_t i = 0; i < files->n; i++)
        printf("  %s %s\n", files->items[i].type, files->items[i].relative);
    cellbox_free(files);
    return cellbox_file_delete(client, BOX, "a", true, e) ? fail("delete", e) : 0;
}

int main(void)
{
    struct cellbox_client *client;
    struct cellbox_error e;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    int status = small(client, &e);
    if (status == 0)
        status = large(client, &e);
    if (status == 0)
        status = directories(client, &e);
    if (cellbox_sandbox_delete(client, BOX, &e))
        status = fail("delete", &e);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
