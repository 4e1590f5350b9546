/* Runs the golden trace of every model on the device itself. The exit status is 0 if all results are equal to torch's. */
#include <stdio.h>

#include "models.h"

/* The models are checked one after the other, and share this memory. */
#define MEMORY(name) name##_check_memory name;
static union {
    MODELS(MEMORY)
} memory;

static int report(const char *name, int32_t step)
{
    if (step == 0) {
        printf("%s: equal\n", name);
        return 0;
    }
    printf("%s: differs at step %ld\n", name, (long)step);
    return 1;
}

int main(void)
{
    int models = 0;
    int differ = 0;
#define CHECK(name) \
    models++; \
    differ += report(#name, name##_check(&memory.name));
    MODELS(CHECK)
    printf("%d of %d models are equal to torch\n", models - differ, models);
    return differ != 0;
}
