#include "tremolo_command.h"

#include <string.h>

#include "tremolo_frame.h"

static uint32_t get32(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24; }

/* COBS in place; 0 where the bytes are none. */
static uint8_t cobs_decode(uint8_t *bytes, uint8_t length) {
  uint8_t read = 0, write = 0;
  while (read < length) {
    uint8_t code = bytes[read++];
    if (code - 1 > length - read) return 0;
    while (--code > 0) bytes[write++] = bytes[read++];
    /* No command has a run of 254, so every block but the last stands for a zero. */
    if (read < length) bytes[write++] = 0;
  }
  return write;
}

static int decode(const uint8_t *bytes, uint8_t length, tremolo_command_t *command) {
  uint8_t expected;
  tremolo_command_t result = {TREMOLO_START, 0, 0, 0};
  if (length < 12 || tremolo_crc32c(bytes, length - 4u) != get32(bytes + length - 4) || bytes[0] != 0xa1) return 0;
  switch (bytes[1]) {
    case TREMOLO_START:
    case TREMOLO_STOP: expected = 12; break;
    case TREMOLO_RATE: expected = 16; break;
    case TREMOLO_TIME_SYNC: expected = 20; break;
    default: return 0;
  }
  if (length != expected || bytes[2] != 0 || bytes[3] != 0 || bytes[6] != 0 || bytes[7] != 0) return 0;
  result.type = (tremolo_command_type_t)bytes[1];
  result.stream_id = (uint16_t)(bytes[4] | bytes[5] << 8);
  if (result.type == TREMOLO_RATE) {
    uint32_t bits = get32(bytes + 8);
    /* Positive, not zero, exponent not all ones. */
    if (bits == 0 || bits >= 0x7f800000u) return 0;
    memcpy(&result.sample_rate_hz, &bits, sizeof bits);
  }
  if (result.type == TREMOLO_TIME_SYNC) result.host_time_us = get32(bytes + 8) | (uint64_t)get32(bytes + 12) << 32;
  *command = result;
  return 1;
}

int tremolo_command_feed(tremolo_command_reader_t *reader, uint8_t byte, tremolo_command_t *command) {
  int complete;
  if (byte != 0) {
    if (reader->length < sizeof reader->bytes) reader->bytes[reader->length++] = byte;
    else reader->too_long = 1;
    return 0;
  }
  complete = !reader->too_long && decode(reader->bytes, cobs_decode(reader->bytes, reader->length), command);
  reader->length = 0;
  reader->too_long = 0;
  return complete;
}
