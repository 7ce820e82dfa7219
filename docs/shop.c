// The README's worked example: a small shop that forgets to forget.
//
//     cc -O2 -g -o shop docs/shop.c
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kItems = 500, kMostVisitors = 10000, kPages = 5 };

typedef struct {
    char* name;
    char* history[kPages];
    char* badge;
} session;

static char* descriptions[kItems];
static char* thumbnails[kItems];  // a cache without a limit
static session* sessions[kMostVisitors];

#define FUNCTION __attribute__((noinline)) static  // small as they are, they keep their own frames

FUNCTION char* decode_picture(size_t bytes) {
    return memset(malloc(bytes), 0xff, bytes);
}

FUNCTION void load_catalogue(void) {
    for (int item = 0; item < kItems; ++item) {
        descriptions[item] = malloc(1200);
        snprintf(descriptions[item], 1200, "item number %d", item);
    }
}

FUNCTION const char* thumbnail(int item) {
    if (thumbnails[item] == NULL) thumbnails[item] = decode_picture(8192);
    return thumbnails[item];
}

FUNCTION size_t show_page(session* visit, int page, int item) {
    if (asprintf(&visit->history[page], "/item/%d", item) < 0) abort();
    return strlen(descriptions[item]) + (thumbnail(item) != NULL);
}

FUNCTION session* sign_in(int visitor) {
    session* visit = sessions[visitor] = calloc(1, sizeof *visit);
    if (asprintf(&visit->name, "visitor number %d", visitor) < 0) abort();
    visit->badge = decode_picture(1024);
    return visit;
}

FUNCTION void sign_out(int visitor) {
    session* visit = sessions[visitor];
    for (int page = 0; page < kPages; ++page) free(visit->history[page]);
    free(visit->name);
    free(visit);  // and the badge? That is the leak.
    sessions[visitor] = NULL;
}

FUNCTION size_t serve(int visitor) {
    size_t shown = 0;
    session* visit = sign_in(visitor);
    for (int page = 0; page < kPages; ++page) shown += show_page(visit, page, (visitor * 7 + page) % kItems);
    if (visitor % 10 != 0) sign_out(visitor);  // every tenth stays for ever
    return shown;
}

int main(int argc, char** argv) {
    int visitors = argc > 1 ? atoi(argv[1]) : 2000;
    size_t shown = 0;
    load_catalogue();
    for (int visitor = 0; visitor < visitors && visitor < kMostVisitors; ++visitor) shown += serve(visitor);
    printf("%zu bytes shown\n", shown);
    return 0;
}
