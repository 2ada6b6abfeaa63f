/* Arm MPS2+ with the AN385 image: a Cortex-M3 at 25 MHz, SysTick for ticks and time, CMSDK UART0 for the line. Arm DAI 0385D; the UART is in Arm
 * DDI 0479 section 4.3, SysTick in Arm DDI 0403E section B3.3.
 */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define SYST_CSR REGISTER(0xe000e010u)
#define SYST_RVR REGISTER(0xe000e014u)
#define SYST_CVR REGISTER(0xe000e018u)
#define ICSR REGISTER(0xe000ed04u)
#define NVIC_ISER0 REGISTER(0xe000e100u)
enum { SYST_ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK = 7, ICSR_PENDSTSET = 1 << 26 };

#define UART_DATA REGISTER(0x40004000u)
#define UART_STATE REGISTER(0x40004004u)
#define UART_CTRL REGISTER(0x40004008u)
#define UART_INTCLEAR REGISTER(0x4000400cu)
#define UART_BAUDDIV REGISTER(0x40004010u)
enum { UART_RX_FULL = 2, UART_TX_AND_RX_WITH_INTERRUPTS = 0xf, UART_TX_INTERRUPT = 1, UART_RX_INTERRUPT = 2 };
enum { UART_RX_IRQ = 0, UART_TX_IRQ = 1 };

static uint64_t cycles_at_tick;
static uint32_t period;

static const uint8_t *volatile send_next;
static const uint8_t *volatile send_end;

/* Not set at start: memory keeps it over a reset, and after a power-up it is whatever the memory cells came up as. */
static uint32_t boots __attribute__((section(".noinit")));

void board_interrupts_off(void) { __asm volatile("cpsid i" ::: "memory"); }
void board_interrupts_on(void) { __asm volatile("cpsie i" ::: "memory"); }
/* Wakes for a waiting interrupt also while interrupts are off. */
void board_sleep(void) { __asm volatile("wfi" ::: "memory"); }

void board_init(void) {
  board_interrupts_off();
  boots++;
  UART_BAUDDIV = (BOARD_CLOCK_HZ + 115200 / 2) / 115200;
  UART_CTRL = UART_TX_AND_RX_WITH_INTERRUPTS;
  NVIC_ISER0 = 1u << UART_RX_IRQ | 1u << UART_TX_IRQ;
}

static uint64_t cycles_now(void) {
  uint32_t left;
  uint64_t base = cycles_at_tick;
  if (period == 0) return 0;
  left = SYST_CVR;
  if (ICSR & ICSR_PENDSTSET) {
    /* The counter has begun again, and its interrupt waits for this one to end. */
    base += period;
    left = SYST_CVR;
  }
  return base + (period - 1 - left);
}

void board_tick_every(uint32_t cycles) {
  cycles_at_tick = cycles_now();
  period = cycles;
  SYST_CSR = 0;
  ICSR = ICSR_PENDSTSET >> 1; /* PENDSTCLR: a tick of the old period that waits is taken into account above */
  SYST_RVR = cycles - 1;
  SYST_CVR = 0;
  SYST_CSR = SYST_ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK;
  /* It reads as 0, which looks like the end of a period, until the first cycle. */
  while (SYST_CVR == 0) continue;
}

uint64_t board_time_us(void) { return cycles_now() / (BOARD_CLOCK_HZ / 1000000u); }

void board_send(const uint8_t *bytes, size_t length) {
  send_end = bytes + length;
  send_next = bytes + 1;
  UART_DATA = *bytes;
}

int board_sending(void) { return send_next != NULL; }

uint16_t board_boot_number(void) { return (uint16_t)(boots ^ boots >> 16); }

void systick_handler(void);
void uart_rx_handler(void);
void uart_tx_handler(void);

void systick_handler(void) {
  cycles_at_tick += period;
  device_tick(cycles_at_tick / (BOARD_CLOCK_HZ / 1000000u));
}

void uart_rx_handler(void) {
  UART_INTCLEAR = UART_RX_INTERRUPT;
  while (UART_STATE & UART_RX_FULL) device_receive((uint8_t)UART_DATA, board_time_us());
}

void uart_tx_handler(void) {
  UART_INTCLEAR = UART_TX_INTERRUPT;
  if (send_next == NULL) return;
  if (send_next == send_end) send_next = NULL;
  else UART_DATA = *send_next++;
}
