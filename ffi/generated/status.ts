// ffi/generated/status.ts: made by `deno task gen` from c/. Do not edit.

/** What C functions return: `>= 0` is success. */
export const STATUS = {
  /** done */
  KL_OK: 0,
  /** locked, and the previous owner died holding it: repair first */
  KL_OWNER_DEAD: 1,
  /** an argument is outside of its documented range */
  KL_ERR_ARGUMENT: -1,
  /** not now: full, empty or busy */
  KL_ERR_AGAIN: -2,
  /** the deadline passed first */
  KL_ERR_TIMEOUT: -3,
  /** already closed */
  KL_ERR_CLOSED: -4,
  /** not a live handle of this kind */
  KL_ERR_HANDLE: -5,
  /** out of memory */
  KL_ERR_MEMORY: -6,
  /** a fixed limit is reached */
  KL_ERR_LIMIT: -7,
  /** the operating system refused or failed the operation */
  KL_ERR_IO: -8,
  /** no space left on the device, or the quota is used up */
  KL_ERR_NO_SPACE: -9,
  /** does not exist */
  KL_ERR_NOT_FOUND: -10,
  /** exists already */
  KL_ERR_EXISTS: -11,
  /** not permitted */
  KL_ERR_PERMISSION: -12,
  /** locked by another owner */
  KL_ERR_LOCKED: -13,
  /** stored bytes are not what was written */
  KL_ERR_CORRUPT: -14,
  /** made by a build with another memory layout */
  KL_ERR_LAYOUT: -15,
  /** a format version this build does not know */
  KL_ERR_VERSION: -16,
  /** exists, but was not made by Keelson */
  KL_ERR_FOREIGN: -17,
  /** unusable since an earlier failure: close and open again */
  KL_ERR_POISONED: -18,
  /** an internal rule was broken: please report it */
  KL_ERR_BUG: -19,
  /** not supported on this system */
  KL_ERR_UNSUPPORTED: -20,
  /** stopped while waiting */
  KL_ERR_STOPPED: -21,
  /** network file systems cannot keep the promises needed here */
  KL_ERR_NETWORK_FS: -22,
  /** not an acceptable name */
  KL_ERR_NAME: -23,
  /** shorter than its header promises */
  KL_ERR_TRUNCATED: -24,
  /** replaced by a newer owner */
  KL_ERR_FENCED: -25,
  /** the end is reached */
  KL_ERR_END: -26,
} as const;

/** The name of each code. */
export const STATUS_NAMES: Readonly<Record<number, string>> = {
  0: "KL_OK",
  1: "KL_OWNER_DEAD",
  "-1": "KL_ERR_ARGUMENT",
  "-2": "KL_ERR_AGAIN",
  "-3": "KL_ERR_TIMEOUT",
  "-4": "KL_ERR_CLOSED",
  "-5": "KL_ERR_HANDLE",
  "-6": "KL_ERR_MEMORY",
  "-7": "KL_ERR_LIMIT",
  "-8": "KL_ERR_IO",
  "-9": "KL_ERR_NO_SPACE",
  "-10": "KL_ERR_NOT_FOUND",
  "-11": "KL_ERR_EXISTS",
  "-12": "KL_ERR_PERMISSION",
  "-13": "KL_ERR_LOCKED",
  "-14": "KL_ERR_CORRUPT",
  "-15": "KL_ERR_LAYOUT",
  "-16": "KL_ERR_VERSION",
  "-17": "KL_ERR_FOREIGN",
  "-18": "KL_ERR_POISONED",
  "-19": "KL_ERR_BUG",
  "-20": "KL_ERR_UNSUPPORTED",
  "-21": "KL_ERR_STOPPED",
  "-22": "KL_ERR_NETWORK_FS",
  "-23": "KL_ERR_NAME",
  "-24": "KL_ERR_TRUNCATED",
  "-25": "KL_ERR_FENCED",
  "-26": "KL_ERR_END",
};

/** The meaning of each code, for a message without a detail. */
export const STATUS_TEXTS: Readonly<Record<number, string>> = {
  0: "done",
  1: "locked, and the previous owner died holding it: repair first",
  "-1": "an argument is outside of its documented range",
  "-2": "not now: full, empty or busy",
  "-3": "the deadline passed first",
  "-4": "already closed",
  "-5": "not a live handle of this kind",
  "-6": "out of memory",
  "-7": "a fixed limit is reached",
  "-8": "the operating system refused or failed the operation",
  "-9": "no space left on the device, or the quota is used up",
  "-10": "does not exist",
  "-11": "exists already",
  "-12": "not permitted",
  "-13": "locked by another owner",
  "-14": "stored bytes are not what was written",
  "-15": "made by a build with another memory layout",
  "-16": "a format version this build does not know",
  "-17": "exists, but was not made by Keelson",
  "-18": "unusable since an earlier failure: close and open again",
  "-19": "an internal rule was broken: please report it",
  "-20": "not supported on this system",
  "-21": "stopped while waiting",
  "-22": "network file systems cannot keep the promises needed here",
  "-23": "not an acceptable name",
  "-24": "shorter than its header promises",
  "-25": "replaced by a newer owner",
  "-26": "the end is reached",
};
