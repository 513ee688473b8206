/* For the harness's own test: a program that finds something wrong in its second round. */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  for (int round = 1; st_next(); round++) CHECK_EQ(round, 1);
}
