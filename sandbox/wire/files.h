/*
 * What G and a file helper of a box (sandbox/files) say to each other on a SEQPACKET socket of
 * their own. One operation at a time: G sends a request, perhaps DATA and END; the helper answers
 * with what the request is for, then END or ERROR, and is ready for the next one. Closing the
 * socket cancels. Native integers; every message is a struct files_head and at most FILES_DATA_MAX
 * bytes.
 */
#pragma once

#include <stdint.h>

enum {
    FILES_DATA_MAX = 65536,
    FILES_MSG_MAX = 16 + FILES_DATA_MAX,
    FILES_PATH_MAX = 4096, /* with its NUL */
    FILES_STRINGS_MAX = 64,
};

enum files_type {
    /* G -> helper: struct files_request, then its strings, each with its NUL. Paths are absolute or
       start at /workspace. */
    FILES_READ = 1, /* path; offset (UINT64_MAX: the last length bytes), length -> ENTRY (the file;
                       FILES_UNSIZED), DATA..., END */
    FILES_WRITE,    /* path; mode, offset; then DATA..., END -> ENTRY, END (FILES_CREATED) */
    FILES_LIST,     /* path, patterns...; depth, limit -> ENTRY..., END (FILES_TRUNCATED) */
    FILES_STAT,     /* path -> ENTRY, END */
    FILES_MKDIR,    /* path; mode -> ENTRY, END (FILES_CREATED) */
    FILES_MOVE,     /* path, target -> ENTRY, END */
    FILES_COPY,     /* path, target -> ENTRY, END */
    FILES_CHMOD,    /* path; mode -> ENTRY, END */
    FILES_SYMLINK,  /* path, what it holds -> ENTRY, END */
    FILES_REMOVE,   /* path -> END */
    FILES_SEARCH,   /* path, options of ripgrep... -> DATA: its JSON lines, END */
    FILES_PACK,     /* path, compression or "" -> DATA: a tar archive, END */
    FILES_UNPACK,   /* path; limit: bytes unpacked; then DATA..., END -> END */
    FILES_WATCH, /* path, patterns...; offset: ms to collect changes for -> ENTRY (the real path),
                    EVENT... until the socket is closed */
    /* both ways */
    FILES_DATA = 32,
    FILES_END, /* arg: of LIST and REMOVE how many */
    /* helper -> G */
    FILES_ENTRY = 64, /* one or more struct files_entry with their texts */
    FILES_ERROR,      /* arg: errno; text */
    FILES_EVENT, /* arg: enum files_event; of a rename two paths, each with its NUL, else one */
};

/* Options of a request, facts of an answer: head.flags. */
enum {
    FILES_RECURSIVE = 1,
    FILES_HIDDEN = 2,     /* LIST: names with a dot, too */
    FILES_APPEND = 4,     /* WRITE: to the end of the file */
    FILES_IN_PLACE = 8,   /* WRITE: from offset on, into the file as it is */
    FILES_EXCLUSIVE = 16, /* WRITE, MKDIR, MOVE, COPY, SYMLINK: nothing may be there */
    FILES_PARENTS = 32,   /* makes missing directories above */
    FILES_HAS_MODE = 64,
    FILES_NOFOLLOW = 128, /* STAT: of the link itself */
    FILES_CREATED = 256,
    FILES_UNSIZED = 512, /* READ: the size says nothing (/proc): data until END */
    FILES_TRUNCATED = 1024,
    FILES_DIRECTORY = 2048, /* EVENT: about a directory */
};

struct files_head {
    uint32_t type, flags;
    uint64_t arg;
};

struct files_request {
    struct files_head h;
    uint64_t offset, length, limit;
    uint32_t mode, depth, nstrings, npatterns; /* LIST, WATCH: so many of the strings include, the
                                                  others exclude */
};

enum { FILES_READABLE = 1, FILES_WRITABLE = 2, FILES_EXECUTABLE = 4 };

struct files_entry {
    uint64_t size, inode;
    int64_t mtime_us;
    uint32_t mode, uid, gid, access; /* access: what the helper's user may do */
    uint32_t name_len, link_len; /* bytes that follow: name or path as asked, target of a link */
};

enum files_event {
    FILES_EV_CREATE = 1,
    FILES_EV_MODIFY,
    FILES_EV_DELETE,
    FILES_EV_RENAME,
    FILES_EV_ATTRIB,
    FILES_EV_OVERFLOW, /* the kernel dropped events: what is there has been looked at anew */
    FILES_EV_GONE,     /* what is watched is gone; the last event */
};
