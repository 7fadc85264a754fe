/* c/base/layout_hash.h: made by `deno task gen` from c/. Do not edit. */
#ifndef KL_BASE_LAYOUT_HASH_H
#define KL_BASE_LAYOUT_HASH_H

/* Over all layouts that TypeScript or another process reads. */
#define KL_LAYOUT_HASH 0xe5bc7653u
/* Over all signatures and status codes that cross the FFI border. */
#define KL_ABI_VERSION 0xdbf744dcu

#endif
