/* The header alone, as the only include: valid C11 and C++17 under pedantic flags. */
#include <dig_nat.h>

int dig_nat_header_check(void);

int dig_nat_header_check(void)
{
    DigNatNodeOptions options;
    dig_nat_node_options_init(&options, sizeof options);
    return options.size == sizeof options && DIG_NAT_STATUS_OK == 0 && DIG_NAT_VERSION_NUMBER > 0;
}
