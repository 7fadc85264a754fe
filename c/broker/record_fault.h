#ifndef KL_BROKER_RECORD_FAULT_H
#define KL_BROKER_RECORD_FAULT_H

/* record_fault: debug builds only. KEELSON_FAULT_RECORD=drop:N | repeat:N | swap:N makes the
 * subscribers of this process drop, repeat or swap (with a neighbour of its batch) the record with
 * sequence N, once, so that whoever counts losses can be seen to count one. Release builds contain
 * nothing of it. */

#include "broker/subscriber.h"

#ifdef KL_DEBUG
/* Changes the records behind `delivery` in place; `room` is how many bytes may be added. */
void kl_record_fault_apply(kl_delivery *delivery, uint8_t *records, uint32_t room);
#else
static inline void kl_record_fault_apply(kl_delivery *delivery, uint8_t *records, uint32_t room) {
    (void)delivery;
    (void)records;
    (void)room;
}
#endif

#endif
