/* A sensor on a serial line: takes samples in an interrupt, sends them as frames, obeys commands. Streams as soon as it has power.
 *
 * The interrupt fills blocks; the program sends them. A block that is full while all others wait for the line is the one place where samples get
 * lost; they are counted, and the sequence shows the gap.
 */
#include <string.h>

#include "../tremolo_command.h"
#include "../tremolo_frame.h"
#include "board.h"
#include "signal.h"

#ifndef DEVICE_ID
#define DEVICE_ID "mps2-an385-1"
#endif

enum { STREAM_ID = 1, CHANNELS = SIGNAL_CHANNELS, BLOCK_SAMPLES = 128, BLOCKS = 4, WAITING_COMMANDS = 4 };

#define HEARTBEAT_US 1000000u

/* What 115,200 baud carry of three channels, rounded down: a frame of 128 samples has 819 bytes, the line 11,520 a second. */
#define MAX_RATE_HZ 1600.0f
#define MIN_RATE_HZ 2.0f
#define FIRST_RATE_HZ 1000u

/* A frame is sent at the latest after so many cycles (128 ms), so that a slow stream does not come in lumps. */
#define FRAME_CYCLES (BOARD_CLOCK_HZ / 1000u * 128u)

static const float scales[CHANNELS] = {1.0f / 1024, 1.0f / 1024, 1.0f / 1024};
static const tremolo_channel_t channels[CHANNELS] = {{"x", "m/s2"}, {"y", "m/s2"}, {"z", "m/s2"}};

typedef struct {
  int16_t samples[BLOCK_SAMPLES * CHANNELS];
  uint64_t first_us;
  uint32_t sequence;
  uint16_t epoch;
  uint16_t count;
  float rate_hz;
} block_t;

/* Block n lies at n % BLOCKS. Blocks from `sent` to `filled` wait for the line; `filled` is the one being filled unless all wait. */
static block_t blocks[BLOCKS];
static volatile uint32_t filled, sent;

static volatile uint8_t running;
static uint16_t epoch;
static uint32_t sequence, dropped;
static uint32_t period;

typedef struct {
  tremolo_command_t command;
  uint64_t received_us;
} stamped_command_t;

static tremolo_command_reader_t reader;
static stamped_command_t commands[WAITING_COMMANDS];
static volatile uint32_t commands_received, commands_done;

static uint8_t reply_due, description_due, heartbeat_due;
static uint64_t next_heartbeat_us;
static stamped_command_t sync;

/* Holds the longest frame and, before it has become serial bytes, any other. */
static uint8_t line[TREMOLO_SERIAL_BYTES(TREMOLO_SAMPLES_BYTES(CHANNELS, BLOCK_SAMPLES, 1))];

static float rate_hz(void) { return (float)BOARD_CLOCK_HZ / (float)period; }

static uint32_t samples_per_block(void) {
  uint32_t samples = FRAME_CYCLES / period;
  return samples > BLOCK_SAMPLES ? BLOCK_SAMPLES : samples == 0 ? 1 : samples;
}

void device_tick(uint64_t now_us) {
  block_t *block = &blocks[filled % BLOCKS];
  if (now_us >= next_heartbeat_us) {
    heartbeat_due = 1;
    next_heartbeat_us = now_us + HEARTBEAT_US;
  }
  if (!running) return;
  if (filled - sent == BLOCKS) {
    dropped++;
    sequence++;
    return;
  }
  if (block->count == 0) {
    block->first_us = now_us;
    block->sequence = sequence;
    block->epoch = epoch;
    block->rate_hz = rate_hz();
  }
  signal_sample(sequence++, &block->samples[block->count * CHANNELS]);
  if (++block->count >= samples_per_block()) filled++;
}

void device_receive(uint8_t byte, uint64_t now_us) {
  stamped_command_t *slot = &commands[commands_received % WAITING_COMMANDS];
  /* One that finds no room is dropped: the gateway sees no effect and sends again. */
  if (commands_received - commands_done == WAITING_COMMANDS) return;
  if (!tremolo_command_feed(&reader, byte, &slot->command)) return;
  if (slot->command.stream_id != STREAM_ID && slot->command.stream_id != TREMOLO_ALL_STREAMS) return;
  slot->received_us = now_us;
  commands_received++;
}

/* What comes next belongs to another frame: other rate, other epoch, or nothing for a while. */
static void close_block(void) {
  if (filled - sent < BLOCKS && blocks[filled % BLOCKS].count > 0) filled++;
}

static void obey(const stamped_command_t *received) {
  switch (received->command.type) {
    case TREMOLO_START:
      close_block();
      epoch++;
      sequence = 0;
      dropped = 0;
      running = 1;
      break;
    case TREMOLO_STOP:
      close_block();
      running = 0;
      heartbeat_due = 1;
      break;
    case TREMOLO_RATE:
      if (received->command.sample_rate_hz < MIN_RATE_HZ || received->command.sample_rate_hz > MAX_RATE_HZ) return;
      close_block();
      period = (uint32_t)((float)BOARD_CLOCK_HZ / received->command.sample_rate_hz + 0.5f);
      board_tick_every(period);
      break;
    case TREMOLO_TIME_SYNC:
      sync = *received;
      reply_due = 1;
      description_due = 1;
      break;
  }
}

static size_t put_block(void) {
  block_t *block = &blocks[sent % BLOCKS];
  tremolo_samples_t frame = {0};
  size_t length;
  frame.stream_id = STREAM_ID;
  frame.epoch = block->epoch;
  frame.sequence = block->sequence;
  frame.device_time_us = block->first_us;
  frame.sample_rate_hz = block->rate_hz;
  frame.channel_count = CHANNELS;
  frame.samples_per_channel = block->count;
  frame.scales = scales;
  frame.has_shaft_speed = 1;
  frame.shaft_speed_rpm = block->rate_hz * (25.0f * 60.0f / 1000.0f);
  frame.samples = block->samples;
  length = tremolo_samples(&frame, line, sizeof line);
  block->count = 0;
  sent++;
  return length;
}

/* The next frame of samples is the oldest block that was not sent, be it full or not; where there is none, it begins with the next sample. */
static size_t put_heartbeat(void) {
  tremolo_heartbeat_t frame = {0};
  const block_t *next;
  frame.stream_id = STREAM_ID;
  board_interrupts_off();
  next = &blocks[sent % BLOCKS];
  frame.epoch = epoch;
  frame.running = running;
  frame.device_time_us = board_time_us();
  frame.next_sequence = next->count > 0 ? next->sequence : sequence;
  frame.dropped_samples = dropped;
  board_interrupts_on();
  frame.sample_rate_hz = rate_hz();
  return tremolo_heartbeat(&frame, line, sizeof line);
}

static size_t put_description(void) {
  tremolo_description_t frame = {0};
  frame.stream_id = STREAM_ID;
  frame.epoch = epoch;
  frame.sample_rate_hz = rate_hz();
  frame.max_sample_rate_hz = MAX_RATE_HZ;
  frame.device_id = DEVICE_ID;
  frame.model = "Tremolo example, MPS2+ AN385";
  frame.firmware = "1.0.0";
  frame.channel_count = CHANNELS;
  frame.channels = channels;
  return tremolo_description(&frame, line, sizeof line);
}

static size_t put_reply(void) {
  tremolo_time_sync_reply_t frame = {0};
  frame.stream_id = STREAM_ID;
  frame.epoch = epoch;
  frame.host_time_us = sync.command.host_time_us;
  frame.device_receive_us = sync.received_us;
  board_interrupts_off();
  frame.device_send_us = board_time_us();
  board_interrupts_on();
  return tremolo_time_sync_reply(&frame, line, sizeof line);
}

/* The next frame by urgency, into `line`; 0 where there is none. */
static size_t put_next(void) {
  if (reply_due) {
    reply_due = 0;
    return put_reply();
  }
  if (filled != sent) return put_block();
  if (description_due) {
    description_due = 0;
    return put_description();
  }
  if (heartbeat_due) {
    heartbeat_due = 0;
    return put_heartbeat();
  }
  return 0;
}

static int command_waits(void) { return commands_done != commands_received && !reply_due; }

static int frame_waits(void) { return !board_sending() && (reply_due || description_due || heartbeat_due || filled != sent); }

int main(void) {
  static const uint8_t delimiter = 0;
  board_init();
  epoch = board_boot_number();
  period = BOARD_CLOCK_HZ / FIRST_RATE_HZ;
  running = 1;
  description_due = 1;
  /* What the line carried before then costs no frame. */
  board_send(&delimiter, 1);
  board_tick_every(period);
  for (;;) {
    if (command_waits()) {
      board_interrupts_off();
      obey(&commands[commands_done % WAITING_COMMANDS]);
      commands_done++;
      board_interrupts_on();
    }
    if (frame_waits()) {
      size_t length = put_next();
      if (length > 0) board_send(line, tremolo_to_serial(line, length, sizeof line));
    }
    board_interrupts_off();
    if (!command_waits() && !frame_waits()) board_sleep();
    board_interrupts_on();
  }
}
