/* What device.c asks of a board, and the two functions of device.c that the board's interrupts call. Porting to another board is another board_*.c,
 * its startup code and its linker script. All interrupts have one priority: none interrupts another.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Of the counter that gives the ticks. */
#define BOARD_CLOCK_HZ 25000000u

/* The longest time between two ticks, in cycles. */
#define BOARD_LONGEST_PERIOD 0x1000000u

/* Sets up the line at 115,200 baud, 8 data bits, no parity, 1 stop bit. Interrupts are off until board_interrupts_on. */
void board_init(void);

/* Calls device_tick every `cycles` cycles, first in `cycles` cycles. Interrupts must be off. */
void board_tick_every(uint32_t cycles);

/* Microseconds since power-up, in 64 bits. Interrupts must be off. */
uint64_t board_time_us(void);

/* Sends `length` bytes, at least one, behind the program's back; they must stay as they are until board_sending() is 0. */
void board_send(const uint8_t *bytes, size_t length);
int board_sending(void);

void board_interrupts_off(void);
void board_interrupts_on(void);

/* Sleeps until an interrupt waits. Interrupts must be off, so that none can come between the look for work and the sleep. */
void board_sleep(void);

/* A number that differs from that of the last power-up or reset with all likelihood. */
uint16_t board_boot_number(void);

/* Called by the board's interrupts. `now_us` is the instant of the tick, and the arrival of the byte. */
void device_tick(uint64_t now_us);
void device_receive(uint8_t byte, uint64_t now_us);

#endif
