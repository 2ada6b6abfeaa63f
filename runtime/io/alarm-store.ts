import { decodeAlarms, encodeAlarms, type KeptAlarm } from '../decide/alarm-states.ts';
import { readIfThere, writeWhole } from './whole-file.ts';

/** The alarms that are not normal, in one file, so that a restart neither forgets an alarm nor raises it again. */
export class AlarmStore {
  readonly #path: string;
  #saved = encodeAlarms(new Map());
  #saving: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws Error where the file is there and cannot be used */
  async read(): Promise<Map<string, KeptAlarm>> {
    // A folder that cannot be is found out by the first write, and said then.
    const bytes = await readIfThere(this.#path);
    if (!bytes) return new Map();
    const text = new TextDecoder().decode(bytes);
    const alarms = decodeAlarms(text);
    this.#saved = text;
    return alarms;
  }

  /** Writes where something has changed since the last time. One write at a time: where one is under way, the next call sees to it. */
  async save(alarms: ReadonlyMap<string, KeptAlarm>): Promise<void> {
    const text = encodeAlarms(alarms);
    if (text === this.#saved || this.#saving) return this.#saving;
    this.#saving = writeWhole(this.#path, text).then(() => {
      this.#saved = text;
    });
    await this.#saving.finally(() => {
      this.#saving = undefined;
    });
  }
}
