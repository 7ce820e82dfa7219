// Linked statically (with musl): no shim can be loaded into it.
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    void* volatile p = malloc(100);
    puts(p ? "static program" : "no memory");
    return 3;
}
