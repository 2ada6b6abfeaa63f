/* Encoder of the Tremolo wire format, for firmware. The format and an example are in ../README.md.
 *
 * C99, no allocation, no global state, nothing but string.h. Works on any byte order; float must be IEEE 754 binary32.
 * Every encoder writes one frame (an MQTT payload) and returns its length in bytes, or 0 where the frame does not fit into `capacity` or is one
 * that the gateway would refuse. On a serial line, tremolo_to_serial then turns it into what is sent.
 */
#ifndef TREMOLO_FRAME_H
#define TREMOLO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TREMOLO_MAX_CHANNELS 16u
#define TREMOLO_MAX_FRAME_BYTES 16384u

/* Bytes of a samples frame; `shaft` is 1 with a shaft speed and 0 without. */
#define TREMOLO_SAMPLES_BYTES(channels, samples, shaft) (30u + 4u * (channels) + 4u * (shaft) + 2u * (channels) * (samples))
#define TREMOLO_HEARTBEAT_BYTES 32u
#define TREMOLO_TIME_SYNC_REPLY_BYTES 36u

/* Bytes that a buffer needs for tremolo_to_serial on a frame of `length` bytes: COBS and the delimiter included. */
#define TREMOLO_SERIAL_BYTES(length) ((length) + (length) / 254u + 2u)

typedef struct {
  uint16_t stream_id;      /* 0 to 65534 */
  uint16_t epoch;          /* must differ from the last one each time `sequence` starts at 0 again */
  uint32_t sequence;       /* index of the first sample (per channel); samples that were dropped count too */
  uint64_t device_time_us; /* at the first sample */
  float sample_rate_hz;
  uint8_t channel_count; /* 1 to 16 */
  uint16_t samples_per_channel;
  const float *scales; /* [channel_count] physical units per count */
  uint8_t has_shaft_speed;
  float shaft_speed_rpm;
  const int16_t *samples; /* [samples_per_channel][channel_count] */
} tremolo_samples_t;

typedef struct {
  uint16_t stream_id;
  uint16_t epoch;
  uint8_t running;
  uint64_t device_time_us;
  uint32_t next_sequence;
  uint32_t dropped_samples; /* taken in this epoch and not sent */
  float sample_rate_hz;
} tremolo_heartbeat_t;

typedef struct {
  const char *name;
  const char *unit; /* as in UCUM: "m/s2", "Cel", "A" */
} tremolo_channel_t;

/* Texts are printable ASCII, at most 255 characters. */
typedef struct {
  uint16_t stream_id;
  uint16_t epoch;
  float sample_rate_hz;
  float max_sample_rate_hz;
  const char *device_id; /* unique, such as the chip's id */
  const char *model;
  const char *firmware;
  uint8_t channel_count;
  const tremolo_channel_t *channels; /* [channel_count] */
} tremolo_description_t;

typedef struct {
  uint16_t stream_id;
  uint16_t epoch;
  uint64_t host_time_us; /* copied from the command */
  uint64_t device_receive_us;
  uint64_t device_send_us;
} tremolo_time_sync_reply_t;

size_t tremolo_samples(const tremolo_samples_t *frame, uint8_t *out, size_t capacity);
size_t tremolo_heartbeat(const tremolo_heartbeat_t *frame, uint8_t *out, size_t capacity);
size_t tremolo_description(const tremolo_description_t *frame, uint8_t *out, size_t capacity);
size_t tremolo_time_sync_reply(const tremolo_time_sync_reply_t *frame, uint8_t *out, size_t capacity);

/* Turns the `length` bytes at `buffer` into COBS with the delimiter behind, in place, and returns how many bytes to send; 0 where `length` is 0
 * or `capacity` is below TREMOLO_SERIAL_BYTES(length). Send one 0x00 before the first frame after a start, so that noise before it costs nothing. */
size_t tremolo_to_serial(uint8_t *buffer, size_t length, size_t capacity);

/* CRC-32C (RFC 3720); 0xe3069283 for the ASCII digits 1 to 9. */
uint32_t tremolo_crc32c(const uint8_t *bytes, size_t length);

#ifdef __cplusplus
}
#endif

#endif
