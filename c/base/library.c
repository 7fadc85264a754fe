#include "base/library.h"

#include "base/layout_hash.h"

#if defined(__linux__)
#include <elf.h>
#include <link.h> /* declares _DYNAMIC, the dynamic section of the object this is linked into */
#endif

uint32_t kl_abi_version(void) {
    return KL_ABI_VERSION;
}

uint32_t kl_layout_hash(void) {
    return KL_LAYOUT_HASH;
}

uint64_t kl_instance(void) {
    static const char here;
    return (uint64_t)(uintptr_t)&here;
}

bool kl_nodelete(void) {
#if defined(__linux__)
    /* Bounded: the linker ends every dynamic section with DT_NULL. */
    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_FLAGS_1) return (entry->d_un.d_val & DF_1_NODELETE) != 0;
    }
    return false;
#else
    return true; /* the flag is an ELF one; elsewhere the loader keeps a library with live threads */
#endif
}
