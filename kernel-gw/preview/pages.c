#include <string.h>

#include "kernel-gw/preview/private.h"

void preview_page(struct gateway *gw, struct exchange *x, int status, const char *code,
                  const char *title, const char *text)
{
    const char *accept = http_header(exchange_request(x), "accept");
    CLEANUP_BUF struct buf b = {0};
    exchange_header(x, "Cache-Control", "no-store");
    exchange_header(x, "X-Cellbox-Error", code);
    if (!http_has_token(accept, "text/html")) {
        api_error(gw, x, status, code, "%s", text);
        return;
    }
    buf_printf(&b,
               "<!doctype html><html lang=en><meta charset=utf-8><title>%s</title>"
               "<meta name=viewport content='width=device-width'>"
               "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;"
               "padding:0 1em;color:#222;background:#fff}h1{font-size:1.4em}code{color:#666}"
               "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}</style>"
               "<h1>%s</h1><p>%s</p><p><code>%d %s</code></p></html>\n",
               title, title, text, status, code);
    api_count(gw, status);
    exchange_respond(x, status, "text/html; charset=utf-8", b.data, b.len);
}
