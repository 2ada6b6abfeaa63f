const BARS = '▁▂▃▄▅▆▇█';

/** Waveform as a line of blocks, scaled to its own largest value. */
export function sparkline(samples: ArrayLike<number>, width: number): string {
  if (samples.length === 0) return ' '.repeat(width);
  let largest = 1e-9;
  for (let index = 0; index < samples.length; index++) largest = Math.max(largest, Math.abs(samples[index]));
  return Array.from({ length: width }, (_, column) => {
    const value = samples[Math.floor((column * samples.length) / width)] / largest;
    return BARS[Math.min(BARS.length - 1, Math.floor(((value + 1) / 2) * BARS.length))];
  }).join('');
}

export interface MachineLine {
  readonly name: string;
  readonly link: string;
  readonly waveform: ArrayLike<number>;
  readonly decision: string;
  readonly confidence: number;
  /** State of its alarm (ISA-18.2). */
  readonly alarm: string;
  readonly truth: string;
  /** Windows whose truth is known, and how many of those were decided right. */
  readonly judged: number;
  readonly right: number;
}

/** A change of an alarm. */
export interface AlarmLine {
  readonly machine: string;
  readonly from: string;
  readonly to: string;
  /** What the last windows together say. */
  readonly decision: string;
  /** When, on the device's clock; absent where an operator changed it. */
  readonly seconds?: number;
  /** Since the fault began, where that is known. */
  readonly afterFaultSeconds?: number;
}

const WAVE_WIDTH = 20;
const ALARM_WIDTH = 'unacknowledged'.length;
/** Changes of alarms that are shown below the table. */
const SHOWN_ALARMS = 3;

/** The table of machines as lines of text. */
export function renderMachines(lines: readonly MachineLine[], color: boolean): string[] {
  const paint = (text: string, code: number) => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
  const width = Math.max(8, ...lines.map(({ decision, truth }) => Math.max(decision.length, truth.length)));
  const names = Math.max(7, ...lines.map(({ name }) => name.length));
  const header = `${'machine'.padEnd(names)} link   ${'waveform'.padEnd(WAVE_WIDTH)} ${'decision'.padEnd(width)}  conf.  ${'alarm'.padEnd(ALARM_WIDTH)} ${'truth'.padEnd(width)}   right`;
  return [
    paint(header, 2),
    ...lines.map(({ name, link, waveform, decision, confidence, alarm, truth, judged, right }) => {
      const mark = decision === '' || truth === '' ? 0 : decision === truth ? 32 : 31;
      const numbers = judged === 0 ? '' : `${right}/${judged}`.padStart(7);
      const state = paint(alarm.padEnd(ALARM_WIDTH), alarm === '' || alarm === 'normal' ? 0 : 31);
      return `${name.padEnd(names)} ${link.padEnd(6)} ${sparkline(waveform, WAVE_WIDTH)} ${paint(decision.padEnd(width), mark)} ${decision ? `${(100 * confidence).toFixed(0).padStart(4)} %` : '      '}  ${state} ${truth.padEnd(width)} ${numbers}`;
    }),
  ];
}

/** The last changes of alarms as lines of text, always as many, so that the block keeps its height. */
export function renderAlarms(alarms: readonly AlarmLine[]): string[] {
  const lines = alarms.slice(-SHOWN_ALARMS).map(describeAlarm);
  return [...lines, ...new Array<string>(SHOWN_ALARMS - lines.length).fill('')];
}

export function describeAlarm({ machine, from, to, decision, seconds, afterFaultSeconds }: AlarmLine): string {
  const when = seconds === undefined ? '' : ` at ${seconds.toFixed(1)} s`;
  const since = afterFaultSeconds === undefined ? '' : `, ${afterFaultSeconds.toFixed(1)} s after the fault began`;
  return `alarm ${machine}: ${from} → ${to}${decision && ` (${decision})`}${when}${since}`;
}

/** Redraws a block of lines in place on a terminal. */
export class LiveBlock {
  readonly #stream: NodeJS.WriteStream;
  #height = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** Lines that do not fit the terminal are cut: a wrapped line would be redrawn in the wrong place. */
  draw(all: readonly string[]): void {
    const { columns = 80, rows = 24 } = this.#stream;
    const lines = all.slice(0, Math.max(1, rows - 2)).map((line) => clip(line, columns));
    const up = this.#height > 0 ? `\x1b[${this.#height}A` : '';
    this.#stream.write(`${up}${lines.map((line) => `\x1b[2K${line}`).join('\n')}\n`);
    this.#height = lines.length;
  }
}

/** The first `columns` letters of a line; colour codes take no room. */
function clip(line: string, columns: number): string {
  let [room, clipped] = [columns, ''];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes begin with the escape character
  for (const part of line.split(/(\x1b\[\d+m)/)) {
    if (part.startsWith('\x1b')) clipped += part;
    else {
      clipped += [...part].slice(0, room).join('');
      room = Math.max(0, room - [...part].length);
    }
  }
  return clipped;
}
