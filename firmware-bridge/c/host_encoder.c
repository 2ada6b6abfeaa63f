/* Runs the encoder on a host, for the tests and to try it out: a frame a line on stdin, its bytes in hexadecimal on stdout, first as a payload
 * and then as on a serial line. "-" where the encoder refuses. Floats are given by the decimal value of their bits, texts in hexadecimal with a
 * leading "x". A line `command HEX` is fed to the command reader instead.
 *
 *   cc -std=c99 -o host_encoder host_encoder.c tremolo_frame.c tremolo_command.c
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tremolo_command.h"
#include "tremolo_frame.h"

static uint8_t buffer[TREMOLO_SERIAL_BYTES(TREMOLO_MAX_FRAME_BYTES)];
static float scales[256];
static int16_t samples[65536];
static char texts[3 + 2 * 256][256];

static uint64_t number(void) {
  uint64_t value = 0;
  if (scanf("%" SCNu64, &value) != 1) exit(2);
  return value;
}

static float real(void) {
  uint32_t bits = (uint32_t)number();
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static const char *text(char *into) {
  char hex[600];
  size_t i, length;
  if (scanf("%599s", hex) != 1) exit(2);
  length = (strlen(hex) - 1) / 2;
  for (i = 0; i < length; i++) {
    unsigned byte;
    if (sscanf(hex + 1 + 2 * i, "%2x", &byte) != 1) exit(2);
    into[i] = (char)byte;
  }
  into[length] = 0;
  return into;
}

static void print_hex(size_t length) {
  size_t i;
  if (length == 0) printf("-");
  for (i = 0; i < length; i++) printf("%02x", buffer[i]);
}

static size_t encode_samples(void) {
  static int16_t dropped;
  tremolo_samples_t frame = {0};
  uint32_t i;
  frame.stream_id = (uint16_t)number();
  frame.epoch = (uint16_t)number();
  frame.sequence = (uint32_t)number();
  frame.device_time_us = number();
  frame.sample_rate_hz = real();
  frame.channel_count = (uint8_t)number();
  frame.samples_per_channel = (uint16_t)number();
  frame.has_shaft_speed = (uint8_t)number();
  frame.shaft_speed_rpm = real();
  for (i = 0; i < frame.channel_count; i++) scales[i] = real();
  for (i = 0; i < (uint32_t)frame.channel_count * frame.samples_per_channel; i++)
    *(i < sizeof samples / sizeof *samples ? &samples[i] : &dropped) = (int16_t)(uint16_t)number();
  frame.scales = scales;
  frame.samples = samples;
  return tremolo_samples(&frame, buffer, sizeof buffer);
}

static size_t encode_heartbeat(void) {
  tremolo_heartbeat_t frame = {0};
  frame.stream_id = (uint16_t)number();
  frame.epoch = (uint16_t)number();
  frame.running = (uint8_t)number();
  frame.device_time_us = number();
  frame.next_sequence = (uint32_t)number();
  frame.dropped_samples = (uint32_t)number();
  frame.sample_rate_hz = real();
  return tremolo_heartbeat(&frame, buffer, sizeof buffer);
}

static size_t encode_description(void) {
  static tremolo_channel_t channels[256];
  tremolo_description_t frame = {0};
  unsigned i;
  frame.stream_id = (uint16_t)number();
  frame.epoch = (uint16_t)number();
  frame.sample_rate_hz = real();
  frame.max_sample_rate_hz = real();
  frame.channel_count = (uint8_t)number();
  frame.device_id = text(texts[0]);
  frame.model = text(texts[1]);
  frame.firmware = text(texts[2]);
  for (i = 0; i < frame.channel_count; i++) {
    channels[i].name = text(texts[3 + 2 * i]);
    channels[i].unit = text(texts[4 + 2 * i]);
  }
  frame.channels = channels;
  return tremolo_description(&frame, buffer, sizeof buffer);
}

static size_t encode_time_sync_reply(void) {
  tremolo_time_sync_reply_t frame = {0};
  frame.stream_id = (uint16_t)number();
  frame.epoch = (uint16_t)number();
  frame.host_time_us = number();
  frame.device_receive_us = number();
  frame.device_send_us = number();
  return tremolo_time_sync_reply(&frame, buffer, sizeof buffer);
}

static void read_commands(void) {
  tremolo_command_reader_t reader = {{0}, 0, 0};
  tremolo_command_t command;
  char hex[3] = {0};
  int c;
  while ((c = getchar()) == ' ') continue;
  for (; c != '\n' && c != EOF; c = getchar()) {
    uint32_t bits;
    hex[0] = (char)c;
    hex[1] = (char)getchar();
    if (!tremolo_command_feed(&reader, (uint8_t)strtoul(hex, NULL, 16), &command)) continue;
    memcpy(&bits, &command.sample_rate_hz, sizeof bits);
    printf("%d %u %" PRIu32 " %" PRIu64 " ", (int)command.type, command.stream_id, bits, command.host_time_us);
  }
  printf("\n");
}

int main(void) {
  char kind[32];
  while (scanf("%31s", kind) == 1) {
    size_t length;
    if (strcmp(kind, "command") == 0) {
      read_commands();
      continue;
    }
    if (strcmp(kind, "samples") == 0) length = encode_samples();
    else if (strcmp(kind, "heartbeat") == 0) length = encode_heartbeat();
    else if (strcmp(kind, "description") == 0) length = encode_description();
    else if (strcmp(kind, "timeSyncReply") == 0) length = encode_time_sync_reply();
    else return 2;
    print_hex(length);
    printf(" ");
    print_hex(tremolo_to_serial(buffer, length, sizeof buffer));
    printf("\n");
  }
  return 0;
}
