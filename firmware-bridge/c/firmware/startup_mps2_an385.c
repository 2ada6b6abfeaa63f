/* Vector table and what must happen before main: .data copied, .bss zeroed. */
#include <stdint.h>
#include <string.h>

extern uint32_t stack_top, data_load, data_begin, data_end, bss_begin, bss_end;

int main(void);
void systick_handler(void);
void uart_rx_handler(void);
void uart_tx_handler(void);
void reset_handler(void);
void fault_handler(void);

void reset_handler(void) {
  memcpy(&data_begin, &data_load, (size_t)((char *)&data_end - (char *)&data_begin));
  memset(&bss_begin, 0, (size_t)((char *)&bss_end - (char *)&bss_begin));
  main();
  for (;;) continue;
}

/* A reset is better than a device that is silent for ever: the next epoch tells the gateway. */
void fault_handler(void) {
  *(volatile uint32_t *)0xe000ed0cu = 0x05fa0004u; /* AIRCR.SYSRESETREQ */
  for (;;) continue;
}

typedef void (*handler_t)(void);

/* Arm DDI 0403E section B1.5.3: the initial stack pointer, 15 exceptions of the core, then the board's interrupts. */
__attribute__((section(".vectors"), used)) static const handler_t vectors[] = {
    (handler_t)&stack_top, reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, 0, 0, 0, 0,
    fault_handler,         fault_handler, 0,             fault_handler, systick_handler, uart_rx_handler, uart_tx_handler,
};
