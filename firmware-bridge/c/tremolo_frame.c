#include "tremolo_frame.h"

#include <string.h>

enum { MARK_AND_VERSION = 0xa1, TYPE_SAMPLES = 1, TYPE_HEARTBEAT = 2, TYPE_DESCRIPTION = 3, TYPE_TIME_SYNC_REPLY = 4 };
enum { HEADER_BYTES = 8, CRC_BYTES = 4, COBS_RUN = 254 };

/* In commands: all streams of a device. No stream may have this id. */
#define ALL_STREAMS 0xffffu

/* Above 2^53 - 1 the gateway's numbers are not exact; microseconds get there after 285 years. */
#define MAX_TIME_US 0x1fffffffffffffu

/* Four bits at a time: 64 bytes of table and a quarter of the time of the bitwise loop. */
uint32_t tremolo_crc32c(const uint8_t *bytes, size_t length) {
  static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                     0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  uint32_t crc = 0xffffffffu;
  while (length-- > 0) {
    crc ^= *bytes++;
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}

/* `put` functions write little-endian whatever the host's order and return where to go on. */
static uint8_t *put16(uint8_t *out, uint16_t value) {
  *out++ = (uint8_t)value;
  *out++ = (uint8_t)(value >> 8);
  return out;
}

static uint8_t *put32(uint8_t *out, uint32_t value) { return put16(put16(out, (uint16_t)value), (uint16_t)(value >> 16)); }

static uint8_t *put64(uint8_t *out, uint64_t value) { return put32(put32(out, (uint32_t)value), (uint32_t)(value >> 32)); }

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static uint8_t *put_float(uint8_t *out, float value) { return put32(out, bits_of(value)); }

static uint8_t *put_header(uint8_t *out, uint8_t type, uint8_t flags, uint8_t count, uint16_t stream_id, uint16_t epoch) {
  *out++ = MARK_AND_VERSION;
  *out++ = type;
  *out++ = flags;
  *out++ = count;
  return put16(put16(out, stream_id), epoch);
}

static size_t finish(uint8_t *begin, uint8_t *end) {
  size_t length = (size_t)(end - begin);
  put32(end, tremolo_crc32c(begin, length));
  return length + CRC_BYTES;
}

/* By their bits, so that neither math.h nor -ffast-math has a say, and a core without floating point needs no library for it. */
static int is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

static int is_zero(float value) { return (bits_of(value) & 0x7fffffffu) == 0; }

/* Finite and above 0: no sign, and the exponent not all ones. */
static int is_rate(float value) { return bits_of(value) - 1 < 0x7f7fffffu; }

size_t tremolo_samples(const tremolo_samples_t *frame, uint8_t *out, size_t capacity) {
  uint8_t has_shaft_speed = frame->has_shaft_speed != 0;
  uint32_t values = (uint32_t)frame->channel_count * frame->samples_per_channel;
  uint32_t length = TREMOLO_SAMPLES_BYTES((uint32_t)frame->channel_count, frame->samples_per_channel, has_shaft_speed);
  uint8_t *at = out;
  uint32_t i;

  if (frame->stream_id == ALL_STREAMS || frame->channel_count > TREMOLO_MAX_CHANNELS || values == 0) return 0;
  if (length > TREMOLO_MAX_FRAME_BYTES || length > capacity) return 0;
  if (frame->device_time_us > MAX_TIME_US || !is_rate(frame->sample_rate_hz)) return 0;
  if (has_shaft_speed && !is_finite(frame->shaft_speed_rpm)) return 0;
  for (i = 0; i < frame->channel_count; i++)
    if (!is_finite(frame->scales[i]) || is_zero(frame->scales[i])) return 0;

  at = put_header(at, TYPE_SAMPLES, has_shaft_speed, frame->channel_count, frame->stream_id, frame->epoch);
  at = put32(at, frame->sequence);
  at = put64(at, frame->device_time_us);
  at = put_float(at, frame->sample_rate_hz);
  at = put16(at, frame->samples_per_channel);
  for (i = 0; i < frame->channel_count; i++) at = put_float(at, frame->scales[i]);
  if (has_shaft_speed) at = put_float(at, frame->shaft_speed_rpm);
  for (i = 0; i < values; i++) at = put16(at, (uint16_t)frame->samples[i]);
  return finish(out, at);
}

size_t tremolo_heartbeat(const tremolo_heartbeat_t *frame, uint8_t *out, size_t capacity) {
  uint8_t *at = out;
  if (frame->stream_id == ALL_STREAMS || capacity < TREMOLO_HEARTBEAT_BYTES) return 0;
  if (frame->device_time_us > MAX_TIME_US || !is_rate(frame->sample_rate_hz)) return 0;
  at = put_header(at, TYPE_HEARTBEAT, frame->running != 0, 0, frame->stream_id, frame->epoch);
  at = put64(at, frame->device_time_us);
  at = put32(at, frame->next_sequence);
  at = put32(at, frame->dropped_samples);
  at = put_float(at, frame->sample_rate_hz);
  return finish(out, at);
}

/* A length byte, then the characters. NULL where it does not fit before `end` or is not printable ASCII, and where `out` is NULL. */
static uint8_t *put_text(uint8_t *out, const uint8_t *end, const char *text) {
  size_t length = strlen(text), i;
  if (out == NULL || length > 255 || (size_t)(end - out) < length + 1) return NULL;
  for (i = 0; i < length; i++)
    if (text[i] < 0x20 || text[i] > 0x7e) return NULL;
  *out = (uint8_t)length;
  memcpy(out + 1, text, length);
  return out + 1 + length;
}

size_t tremolo_description(const tremolo_description_t *frame, uint8_t *out, size_t capacity) {
  const uint8_t *end;
  uint8_t *at = out;
  uint8_t i;
  if (frame->stream_id == ALL_STREAMS || frame->channel_count == 0 || frame->channel_count > TREMOLO_MAX_CHANNELS) return 0;
  if (capacity < HEADER_BYTES + 8 + CRC_BYTES) return 0;
  if (!is_rate(frame->sample_rate_hz) || !is_rate(frame->max_sample_rate_hz)) return 0;
  end = out + (capacity < TREMOLO_MAX_FRAME_BYTES ? capacity : TREMOLO_MAX_FRAME_BYTES) - CRC_BYTES;
  at = put_header(at, TYPE_DESCRIPTION, 0, frame->channel_count, frame->stream_id, frame->epoch);
  at = put_float(at, frame->sample_rate_hz);
  at = put_float(at, frame->max_sample_rate_hz);
  at = put_text(at, end, frame->device_id);
  at = put_text(at, end, frame->model);
  at = put_text(at, end, frame->firmware);
  for (i = 0; i < frame->channel_count; i++) {
    at = put_text(at, end, frame->channels[i].name);
    at = put_text(at, end, frame->channels[i].unit);
  }
  return at == NULL ? 0 : finish(out, at);
}

size_t tremolo_time_sync_reply(const tremolo_time_sync_reply_t *frame, uint8_t *out, size_t capacity) {
  uint8_t *at = out;
  if (frame->stream_id == ALL_STREAMS || capacity < TREMOLO_TIME_SYNC_REPLY_BYTES) return 0;
  if (frame->host_time_us > MAX_TIME_US || frame->device_receive_us > MAX_TIME_US || frame->device_send_us > MAX_TIME_US) return 0;
  at = put_header(at, TYPE_TIME_SYNC_REPLY, 0, 0, frame->stream_id, frame->epoch);
  at = put64(at, frame->host_time_us);
  at = put64(at, frame->device_receive_us);
  at = put64(at, frame->device_send_us);
  return finish(out, at);
}

/* Cheshire and Baker 1999. The frame is first moved up by as much as COBS can add, so that what is written never reaches what is unread. */
size_t tremolo_to_serial(uint8_t *buffer, size_t length, size_t capacity) {
  const uint8_t *read, *end;
  uint8_t *write = buffer;
  if (length == 0 || capacity < TREMOLO_SERIAL_BYTES(length)) return 0;
  read = buffer + length / COBS_RUN + 1;
  end = read + length;
  memmove(buffer + length / COBS_RUN + 1, buffer, length);
  for (;;) {
    size_t run = 0;
    while (run < COBS_RUN && read + run < end && read[run] != 0) run++;
    *write = (uint8_t)(run + 1);
    memmove(write + 1, read, run);
    write += run + 1;
    read += run;
    if (read == end) break;
    if (run < COBS_RUN) read++; /* the zero that ended the run is in the code byte */
  }
  *write++ = 0;
  return (size_t)(write - buffer);
}
