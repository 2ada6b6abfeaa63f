import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { describeMachine, type Machine } from '../harness/machine.ts';

/** The machine, and what of it can change between two runs. */
export interface Device extends Machine {
  /** Board, as the device tree or the firmware names it; null where neither does. */
  readonly model: string | null;
  readonly kernel: string;
  /** What sets the frequency; null where the kernel does not tell. */
  readonly governor: string | null;
}

export async function describeDevice(): Promise<Device> {
  const read = async (path: string) => (await readFile(path, 'utf8').catch(() => '')).replaceAll('\0', '').trim() || null;
  return {
    ...(await describeMachine()),
    model: (await read('/proc/device-tree/model')) ?? (await read('/sys/class/dmi/id/product_name')),
    kernel: release(),
    governor: await read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
  };
}
