/* read_epoch_bare.c where membarrier is missing, or several processes share the slots. */
#define WITH_FENCES true
#include "bench/sync/read_epoch_bare.c"
