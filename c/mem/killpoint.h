/* killpoint: named places at which a test ends the process, to see what a death there leaves.
 *
 * With KL_DEBUG a program may define kl_killpoint_hook; it is called with the name each time a
 * killpoint is passed. Without KL_DEBUG, or without a hook, a killpoint is nothing.
 */
#ifndef KL_MEM_KILLPOINT_H
#define KL_MEM_KILLPOINT_H

#ifdef KL_DEBUG
__attribute__((weak)) void kl_killpoint_hook(const char *name);
#define KL_KILLPOINT(name) (kl_killpoint_hook != NULL ? kl_killpoint_hook(name) : (void)0)
#else
#define KL_KILLPOINT(name) ((void)0)
#endif

#endif
