#include "signal.h"

/* A turn is 2^32. At 1 kHz: a shaft of 25 Hz seen from two sides, twice its speed on the third channel, and a tooth mesh of 12 times. */
#define SHAFT_STEP 107374182u
#define QUARTER_TURN 0x40000000u

/* A sine to 6 %, made of two parabolas, in [-8192, 8192]. Integers only, and nothing that C leaves open: every computer gives the same numbers. */
static int32_t wave(uint32_t phase) {
  int32_t x = (int32_t)(phase >> 16) - 32768;
  return x * (32768 - (x < 0 ? -x : x)) / 32768;
}

/* In [-128, 127], different for each `n` (two rounds of a multiply and xor-shift hash). */
static int32_t noise(uint32_t n) {
  n *= 2654435761u;
  n ^= n >> 15;
  n *= 2246822519u;
  return (int32_t)(n >> 24) - 128;
}

void signal_sample(uint32_t index, int16_t values[SIGNAL_CHANNELS]) {
  uint32_t turn = index * SHAFT_STEP;
  int32_t mesh = wave(turn * 12) / 8;
  values[0] = (int16_t)(wave(turn) + mesh + noise(3 * index));
  values[1] = (int16_t)(wave(turn + QUARTER_TURN) + mesh + noise(3 * index + 1));
  values[2] = (int16_t)(wave(turn * 2) / 2 + mesh + noise(3 * index + 2));
}
