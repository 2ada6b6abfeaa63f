#ifndef SIGNAL_H
#define SIGNAL_H

#include <stdint.h>

#define SIGNAL_CHANNELS 3

/* Sample `index` of the synthetic machine, one value a channel. A real device reads its converter here. */
void signal_sample(uint32_t index, int16_t values[SIGNAL_CHANNELS]);

#endif
