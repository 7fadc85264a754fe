/* read_hazard_bare.c where membarrier is missing. */
#define WITH_FENCES true
#include "bench/sync/read_hazard_bare.c"
