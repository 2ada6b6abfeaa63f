import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Energy that the processor's packages have used, as the kernel counts it (powercap: Intel and AMD). */
export interface EnergyMeter {
  /** Since this meter was made, joules. To be read at least every minute: the counters wrap. */
  joules(): number;
}

/** @returns why the kernel does not tell, or the meter @param folder of powercap zones */
export function energyMeter(folder = '/sys/class/powercap'): EnergyMeter | { readonly missing: string } {
  let zones: string[];
  try {
    // Whole packages only: zones below them, as core and dram, count the same energy again.
    zones = readdirSync(folder).filter((name) => /^[a-z-]+:\d+$/.test(name));
  } catch {
    return { missing: 'this kernel has no powercap' };
  }
  if (zones.length === 0) return { missing: 'powercap has no zone for this processor' };
  const read = (zone: string, file: string) => Number(readFileSync(join(folder, zone, file), 'utf8'));
  try {
    const ranges = zones.map((zone) => read(zone, 'max_energy_range_uj'));
    let last = zones.map((zone) => read(zone, 'energy_uj'));
    let total = 0;
    return {
      joules() {
        const now = zones.map((zone) => read(zone, 'energy_uj'));
        total += now.reduce((sum, value, zone) => sum + (value >= last[zone] ? value - last[zone] : value - last[zone] + ranges[zone]), 0);
        last = now;
        return total / 1e6;
      },
    };
  } catch (error) {
    return { missing: `powercap cannot be read (${(error as NodeJS.ErrnoException).code ?? 'no counter'}); run as root` };
  }
}
