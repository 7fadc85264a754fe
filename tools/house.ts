/**
 * The house rules as data; `tools/check_house.ts` applies them. A rule is added here, with its
 * replacement, when a mistake was made twice.
 *
 * @module
 */

/** Something that must not be written, with what to write instead. */
export interface BannedText {
  /** What is looked for, in code without comments unless `inComments`. */
  pattern: RegExp;
  /** Files it is banned in. */
  within: RegExp;
  /** Files that may, for it is theirs to do. */
  except?: RegExp;
  inComments?: boolean;
  /** What to do instead. */
  instead: string;
}

/** Lines of a file, by kind: past it a newcomer gives up. */
export const FILE_LINES_MAX: readonly { within: RegExp; lines: number }[] = [
  { within: /\.ts$/, lines: 700 },
  { within: /\.[ch]$/, lines: 1000 },
];

/** Lines of a function, signature included. Tests are exempt: a scenario reads best in one piece. */
export const FUNCTION_LINES_MAX = 60;

/** Words that say nothing about what is inside. */
export const BANNED_NAMES = /(^|[/_])(utils?|helpers?|common|misc|stuff)([./_]|$)/i;

const C = /^c\/.*\.[ch]$/;
const LIBRARY = /^(lib|ffi)\/.*\.ts$/;
const ALL = /./;
/** Marks and paths are spelt in two halves, so that this file does not hold them. */
const half = (...parts: string[]) => parts.join("");

/** What must not be written where. */
export const BANNED_TEXTS: readonly BannedText[] = [
  {
    pattern: new RegExp(
      `\\b(${half("TO", "DO")}|${half("FIX", "ME")}|${half("X", "XX")}|${half("HA", "CK")})\\b`,
    ),
    within: ALL,
    inComments: true,
    instead: "do it, or write it into the closing note",
  },
  {
    pattern: new RegExp(`${half("/wo", "rk/")}|${half("/fa", "rm/")}|${half("/ro", "ot/")}`),
    within: ALL,
    inComments: true,
    instead: "a path of one machine does not belong here",
  },
  {
    pattern: /\bissue #?\d+\b/i,
    within: ALL,
    except: /^(CHANGELOG\.md|deno\.lock)$/,
    inComments: true,
    instead: "say what the rule is, not where it was asked for",
  },
  {
    pattern: /\bfsync\s*\(|\bfdatasync\s*\(/,
    within: C,
    except: /^c\/file\//,
    instead: "kl_device_sync or kl_folder_sync",
  },
  {
    pattern: /\bmsync\s*\(/,
    within: C,
    instead: "kl_device_write_at and kl_device_sync: 211 us against 112",
  },
  {
    pattern: /\bposix_fallocate\s*\(|\bfallocate\s*\(/,
    within: C,
    except: /^c\/(file|mem)\//,
    instead: "kl_device_zero_fill",
  },
  {
    pattern: /\bpthread_create\s*\(/,
    within: C,
    except: /^c\/(exec\/|file\/device_measure\.c)/,
    instead: "kl_service_start",
  },
  {
    pattern: /\bpthread_(mutex|cond|rwlock)_\w+\s*\(/,
    within: /^c\/(log|broker|store|hashkv|pages|checkpoint)\/.*_shared\.[ch]$/,
    instead: "sync/mutex.h: robust when a process dies",
  },
  { pattern: /\bdlopen\s*\(|\bdlclose\s*\(/, within: C, instead: "ffi/library.ts" },
  {
    pattern: /\bmunmap\s*\(/,
    within: C,
    except: /^c\/(mem|file|log)\//,
    instead: "kl_region_close: a range handed out is never unmapped",
  },
  {
    pattern: /\bf(open|close|printf|write|read)\s*\(/,
    within: C,
    except: /^c\/(base\/status|file\/device_faults)\.c$/,
    instead: "kl_device_* for files, kl_fail for words",
  },
  {
    pattern: /\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol)\s*\(/,
    within: C,
    instead: "snprintf, memcpy with a checked length, strtoull",
  },
  {
    pattern: /\b(printf|puts|putchar|perror)\s*\(/,
    within: C,
    instead: "kl_fail: a library does not print",
  },
  { pattern: /\b(rand|srand|random|drand48)\s*\(/, within: C, instead: "base/random.h: seedable" },
  {
    pattern: /\b(system|popen|exit|_exit|quick_exit)\s*\(/,
    within: C,
    except: /^c\/mem\/killpoint\.[ch]$/,
    instead: "return a status",
  },
  {
    pattern: /\babort\s*\(/,
    within: C,
    except: /^c\/(base\/status|file\/device_faults)\.c$/,
    instead: "KL_ASSERT",
  },
  {
    pattern: /\b(sleep|usleep)\s*\(/,
    within: C,
    except: /^c\/(base|exec|sync)\//,
    instead: "kl_event_count_wait with a deadline",
  },
  {
    pattern: /\b(time|gettimeofday|clock_gettime)\s*\(/,
    within: C,
    except: /^c\/base\/clock\.c$/,
    instead: "base/clock.h",
  },
  {
    pattern: /\bF_SETLKW?\b/,
    within: C,
    instead: "F_OFD_SETLK: a POSIX lock falls with any close of the file",
  },
  { pattern: /\bsignal\s*\(/, within: C, instead: "sigaction, and only in mem/fault_guard" },
  {
    pattern: /\bassert\s*\(/,
    within: C,
    instead: "KL_ASSERT: a library never kills its host process",
  },
  { pattern: /\balloca\s*\(/, within: C, instead: "a bounded array, or the heap" },
  {
    pattern: /\bconsole\.\w+\s*\(/,
    within: LIBRARY,
    except: /^lib\/app\//,
    instead: "throw or return it: a library does not print",
  },
  {
    pattern: /\bDeno\.exit\s*\(/,
    within: LIBRARY,
    except: /^lib\/app\//,
    instead: "throw a KeelsonError",
  },
  {
    pattern: /\bDeno\.dlopen\s*\(/,
    within: /\.ts$/,
    except: /^(ffi\/library\.ts|tests\/.*)$/,
    instead: "symbols() of ffi/library.ts",
  },
  {
    pattern: /\bDeno\.Unsafe\w+/,
    within: LIBRARY,
    except: /^ffi\//,
    instead: "copy through a buffer: it must work under --allow-ffi=<path>",
  },
  {
    pattern: /\bMath\.random\s*\(/,
    within: /\.ts$/,
    except: /^lib\/app\/dashboard\/page\//,
    instead: "crypto.getRandomValues, or a seed that is printed",
  },
  { pattern: /\beval\s*\(|new Function\s*\(/, within: LIBRARY, instead: "code" },
  {
    pattern: /Deno\.test\.(only|ignore)\b|\b(only|ignore):\s*true\b/,
    within: /^tests\/.*\.ts$/,
    instead: "needs() of tests/allowed_skips.ts",
  },
  { pattern: /@ts-(ignore|nocheck)/, within: /\.ts$/, inComments: true, instead: "a type" },
];
