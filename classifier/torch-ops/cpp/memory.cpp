// Memory that libtorch has freed, and that its allocator keeps.

#include <malloc.h>

extern "C" void torch_ops_release_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
