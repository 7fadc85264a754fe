#include "base/library.h"
#include "tests/c/harness.h"

KL_TEST(kl_instance_is_one_number_for_as_long_as_the_library_is_loaded) {
    KL_CHECK_NE(kl_instance(), 0);
    KL_CHECK_EQ(kl_instance(), kl_instance());
}

KL_TEST(kl_abi_version_and_kl_layout_hash_do_not_change) {
    KL_CHECK_EQ(kl_abi_version(), kl_abi_version());
    KL_CHECK_EQ(kl_layout_hash(), kl_layout_hash());
}

KL_TEST(kl_nodelete_is_false_for_what_is_not_linked_so) {
    KL_CHECK(!kl_nodelete()); /* a test program is not; the loader's own test sees the library */
}
