/* Reads the gateway's commands from a serial line, a byte at a time. C99, no allocation, 23 bytes of state. */
#ifndef TREMOLO_COMMAND_H
#define TREMOLO_COMMAND_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In a command: every stream of the device. */
#define TREMOLO_ALL_STREAMS 0xffffu

typedef enum {
  TREMOLO_START = 0x81,    /* begin to send samples, in a new epoch */
  TREMOLO_STOP = 0x82,     /* stop; heartbeats go on */
  TREMOLO_RATE = 0x83,     /* take samples at sample_rate_hz */
  TREMOLO_TIME_SYNC = 0x84 /* answer with tremolo_time_sync_reply, then send a description */
} tremolo_command_type_t;

typedef struct {
  tremolo_command_type_t type;
  uint16_t stream_id;
  float sample_rate_hz;  /* with TREMOLO_RATE: finite and above 0 */
  uint64_t host_time_us; /* with TREMOLO_TIME_SYNC */
} tremolo_command_t;

/* Zero it before the first byte. */
typedef struct {
  uint8_t bytes[21]; /* the longest command after COBS */
  uint8_t length;
  uint8_t too_long;
} tremolo_command_reader_t;

/* Takes one byte. 1 where it completes a sound command, which is then in `command`; otherwise 0, and `command` is as it was. */
int tremolo_command_feed(tremolo_command_reader_t *reader, uint8_t byte, tremolo_command_t *command);

#ifdef __cplusplus
}
#endif

#endif
